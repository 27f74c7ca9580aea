/** Edits of a workflow's named inputs: its form, its flags on the command line, the body of its HTTP call. */

import type { NodeSpec } from "../api/client";
import type { Edit } from "./edit";
import { chain, setInput } from "./edit";
import type { NamedInput, Target, Workflow } from "./types";
import { edgesIn } from "./types";

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

/** Add an input of a node to the form, or to the inputs of a sub-workflow, at its end. */
export function addToForm(target: Target): Edit {
  return (workflow) =>
    namedInput(workflow, target)
      ? workflow
      : { ...workflow, inputs: [...workflow.inputs, { name: freshName(workflow, target), to: [target] }] };
}

export function removeFromForm(name: string): Edit {
  return (workflow) => ({ ...workflow, inputs: workflow.inputs.filter((item) => item.name !== name) });
}

/** A name that does not fit changes nothing. */
export function renameInForm(name: string, next: string): Edit {
  return (workflow) =>
    next === name || !nameFits(workflow, next, name)
      ? workflow
      : { ...workflow, inputs: workflow.inputs.map((item) => (item.name === name ? { ...item, name: next } : item)) };
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
