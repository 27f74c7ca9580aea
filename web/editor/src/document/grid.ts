/** The cells of a batch as a grid: the first axis across, the second down, the third in pages. */

import type { Schemas } from "../api/client";
import { MAX_AXES, textOf } from "./sweep";

export type Cell = Schemas["BatchCell"];

export interface Grid {
  /** The names of the inputs across, down and in pages; empty where there is none. */
  names: readonly [string, string, string];
  /** The labels across, down and of the pages; at least one each. */
  labels: readonly [readonly string[], readonly string[], readonly string[]];
  at(x: number, y: number, page: number): Cell | undefined;
}

/** The values of a cell in words. */
export const labelOf = (cell: Cell): string =>
  Object.entries(cell.inputs)
    .map(([name, value]) => `${name} ${textOf(value)}`)
    .join(", ");

/** The grid of a table. Its last input changes fastest and goes across; a table that fills no grid is a list, one cell below another. */
export function arranged(cells: readonly Cell[]): Grid {
  const names = Object.keys(cells[0]?.inputs ?? {}).reverse();
  const alike = cells.every(({ inputs }) => Object.keys(inputs).length === names.length && names.every((name) => name in inputs));
  const values = names.map((name) => [...new Set(cells.map(({ inputs }) => textOf(inputs[name])))]);
  const known = new Map(cells.map((cell) => [keyOf(names.map((name) => textOf(cell.inputs[name]))), cell]));
  const room = values.reduce((all, { length }) => all * length, 1);
  if (!alike || names.length > MAX_AXES || room !== cells.length || known.size !== room) return listed(cells);
  const [across = [""], down = [""], pages = [""]] = values;
  return {
    names: [names[0] ?? "", names[1] ?? "", names[2] ?? ""],
    labels: [across, down, pages],
    at: (x, y, page) => known.get(keyOf([across[x], down[y], pages[page]].slice(0, names.length))),
  };
}

const keyOf = (values: readonly unknown[]) => JSON.stringify(values);

function listed(cells: readonly Cell[]): Grid {
  return { names: ["", "", ""], labels: [[""], cells.map(labelOf), [""]], at: (_, y) => cells[y] };
}
