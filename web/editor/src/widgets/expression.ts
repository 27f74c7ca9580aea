/** Sums that people type into number fields: + - * / % ** and brackets. */

const TOKEN = /\s*(?:(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)|(\*\*|[-+*/%()]))/iy;

/** The value of a sum; null when it is none. Never infinite, never NaN. */
export function evaluate(text: string): number | null {
  const tokens = tokensOf(text);
  if (tokens === null) return null;
  const reader = new Reader(tokens);
  const value = reader.sum();
  return reader.done && Number.isFinite(value) ? value : null;
}

function tokensOf(text: string): string[] | null {
  const found: string[] = [];
  const end = text.trimEnd().length;
  for (TOKEN.lastIndex = 0; TOKEN.lastIndex < end; ) {
    const match = TOKEN.exec(text);
    if (match === null) return null;
    found.push((match[1] ?? match[2]) as string);
  }
  return found;
}

class Reader {
  private at = 0;

  constructor(private readonly tokens: string[]) {}

  get done() {
    return this.at === this.tokens.length;
  }

  sum(): number {
    let value = this.product();
    for (let sign = this.next("+", "-"); sign; sign = this.next("+", "-"))
      value = sign === "+" ? value + this.product() : value - this.product();
    return value;
  }

  private product(): number {
    let value = this.signed();
    for (let sign = this.next("*", "/", "%"); sign; sign = this.next("*", "/", "%")) {
      const other = this.signed();
      value = sign === "*" ? value * other : sign === "/" ? value / other : value % other;
    }
    return value;
  }

  private signed(): number {
    const sign = this.next("-", "+");
    return sign === "-" ? -this.signed() : sign ? this.signed() : this.power();
  }

  private power(): number {
    const base = this.atom();
    return this.next("**") ? base ** this.signed() : base;
  }

  private atom(): number {
    if (this.next("(")) {
      const value = this.sum();
      return this.next(")") ? value : NaN;
    }
    const token = this.tokens[this.at++];
    return token === undefined ? NaN : Number(token);
  }

  private next(...wanted: string[]): string | null {
    const token = this.tokens[this.at];
    if (token === undefined || !wanted.includes(token)) return null;
    this.at++;
    return token;
  }
}
