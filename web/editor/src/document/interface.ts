/** Edits of a workflow's named inputs: its form, its flags on the command line, the body of its HTTP call. */

import type { NodeSpec } from "../api/client";
import type { Edit } from "./edit";
import { chain, setInput } from "./edit";
import type { NamedInput, Target, Workflow } from "./types";
import { edgesIn, isObject } from "./types";

/** The engine's rule for names. */
const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,99}$/;

/** Names that mean something else on the command line or in Python: the engine's RESERVED_INPUTS. */
const RESERVED = new Set(
  (
    "set out output json no-cache device dtype vram-budget ram-budget explain-memory no-metadata no-label sweep rows grid help server " +
    "token priority tag watch front tags idempotency-key workflow outputs cache previews on-event"
  ).split(" "),
);

export const namedInput = (workflow: Workflow, { node, input }: Target): NamedInput | undefined =>
  workflow.inputs.find(({ to }) => to.some((target) => target.node === node && target.input === input));

/** Whether a named input can be called that; its own name can stay. */
export function nameFits(workflow: Workflow, name: string, own = ""): boolean {
  const taken = workflow.inputs.some((item) => item.name === name && item.name !== own);
  return NAME.test(name) && !taken && !RESERVED.has(name.replaceAll("_", "-"));
}

/** A free name for an input: its own, else with its node's before it, else with a number. */
export function freshName(workflow: Workflow, { node, input }: Target): string {
  const plain = (text: string) => text.replace(/[^A-Za-z0-9_-]/g, "-").replace(/^[^A-Za-z]+/, "");
  const base = plain(input) || "input";
  const longer = plain(`${node}-${input}`) || base;
  const found = [base, longer].find((name) => nameFits(workflow, name));
  if (found) return found;
  for (let n = 2; ; n++) if (nameFits(workflow, `${longer}-${n}`)) return `${longer}-${n}`;
}

/** The inputs of a node that no edge and no named input leads to. */
export function freeInputs(workflow: Workflow, node: string, spec: NodeSpec | undefined): string[] {
  const names = (spec?.inputs ?? []).map(({ name }) => name);
  return names.filter(
    (input) => edgesIn(workflow.nodes[node]?.inputs[input]).length === 0 && !namedInput(workflow, { node, input }),
  );
}

/** How an input stands in the form, beyond its name and place; kept in the layout, which the engine ignores. */
export interface Arranged {
  /** The heading that it stands under, with those next to it that have the same one. */
  group?: string;
  /** What it is for, in the words of who made the workflow. */
  help?: string;
  /** Whether another one has room beside it. */
  half?: boolean;
}

/** How the inputs of a form stand, by their names; what was not written here is left out. */
export function arrangedIn({ layout }: Pick<Workflow, "layout">): Record<string, Arranged> {
  if (!isObject(layout.form)) return {};
  const entries = Object.entries(layout.form).filter((entry): entry is [string, Record<string, unknown>] => isObject(entry[1]));
  return Object.fromEntries(entries.map(([name, item]) => [name, arrangedOf(item)]));
}

function arrangedOf({ group, help, half }: Record<string, unknown>): Arranged {
  const text = (value: unknown) => (typeof value === "string" && value.trim() ? value : undefined);
  const known = { group: text(group), help: text(help), half: half === true || undefined };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined));
}

/** The inputs under their headings, in their order; "" is none. */
export function groupsOf(workflow: Pick<Workflow, "inputs" | "layout">): { title: string; items: NamedInput[] }[] {
  const arranged = arrangedIn(workflow);
  const groups: { title: string; items: NamedInput[] }[] = [];
  for (const item of workflow.inputs) {
    const title = arranged[item.name]?.group ?? "";
    const last = groups.at(-1);
    if (last?.title === title) last.items.push(item);
    else groups.push({ title, items: [item] });
  }
  return groups;
}

/** Change how an input stands in the form. */
export function arrangeInForm(name: string, change: Arranged): Edit {
  return (workflow) => withForm(workflow, { ...arrangedIn(workflow), [name]: arrangedOf({ ...arrangedIn(workflow)[name], ...change }) });
}

/** The document with how the inputs stand that it has. */
function withForm(workflow: Workflow, form: Record<string, Arranged>): Workflow {
  const kept = workflow.inputs.flatMap(({ name }) => (Object.keys(form[name] ?? {}).length ? [[name, form[name]]] : []));
  const { form: _, ...layout } = workflow.layout;
  return { ...workflow, layout: kept.length ? { ...layout, form: Object.fromEntries(kept) as unknown } : layout };
}

/** Add an input of a node to the form, or to the inputs of a sub-workflow, at its end. */
export function addToForm(target: Target): Edit {
  return (workflow) =>
    namedInput(workflow, target)
      ? workflow
      : { ...workflow, inputs: [...workflow.inputs, { name: freshName(workflow, target), to: [target] }] };
}

export function removeFromForm(name: string): Edit {
  return (workflow) =>
    withForm({ ...workflow, inputs: workflow.inputs.filter((item) => item.name !== name) }, arrangedIn(workflow));
}

/** A name that does not fit changes nothing. */
export function renameInForm(name: string, next: string): Edit {
  return (workflow) => {
    if (next === name || !nameFits(workflow, next, name)) return workflow;
    const inputs = workflow.inputs.map((item) => (item.name === name ? { ...item, name: next } : item));
    const { [name]: own = {}, ...others } = arrangedIn(workflow);
    return withForm({ ...workflow, inputs }, { ...others, [next]: own });
  };
}

export function moveInForm(name: string, by: number): Edit {
  return (workflow) => {
    const from = workflow.inputs.findIndex((item) => item.name === name);
    const to = Math.max(0, Math.min(workflow.inputs.length - 1, from + by));
    if (from < 0 || from === to) return workflow;
    const inputs = [...workflow.inputs];
    inputs.splice(to, 0, ...inputs.splice(from, 1));
    return { ...workflow, inputs };
  };
}

/** Set a named input's value wherever it goes. */
export function setNamed({ to }: NamedInput, value: unknown): Edit {
  return chain(...to.map(({ node, input }) => setInput(node, input, value)));
}
