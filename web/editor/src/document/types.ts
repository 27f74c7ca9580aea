/** The workflow document, format latentloom/1, as docs/format.md describes it. */

export interface Edge {
  node: string;
  output: string;
}

export type Mode = "active" | "bypass" | "mute";

/** How a node is repeated, turn by turn; its input `turns` says how often. */
export interface Repeat {
  /** Inputs with the outputs of the turn before that they get. */
  carry?: Record<string, string>;
  /** Outputs that become lists with an item for each turn. */
  collect?: string[];
  /** A BOOLEAN output that ends the loop. */
  until?: string;
  /** The input that gets the number of the turn, from 0. */
  number?: string;
}

export interface WorkflowNode {
  type: string;
  version: number;
  /** Literals, edges, or lists that may hold edges; an object that is a value is wrapped: {literal: ...}. */
  inputs: Record<string, unknown>;
  title?: string;
  mode?: Mode;
  extra?: unknown;
  /** The inputs whose lists go item by item. */
  each?: string[];
  /** What a failed item does: end the run, or be left out. */
  on_error?: "stop" | "keep";
  repeat?: Repeat;
}

export interface Target {
  node: string;
  input: string;
  /** In a sub-workflow: one item of a list input. */
  item?: number;
}

export interface NamedInput {
  name: string;
  to: Target[];
}

export interface NamedOutput {
  name: string;
  from: Edge;
}

export interface Point {
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

export type Box = Point & Size;

export interface Place extends Point {
  width?: number;
  collapsed?: boolean;
}

export interface Group extends Box {
  id: string;
  title: string;
  colour?: string;
}

export interface Note extends Box {
  id: string;
  text: string;
}

/** Where things stand. The engine ignores it; other keys in it are kept. */
export interface Layout {
  nodes: Record<string, Place>;
  groups: Group[];
  notes: Note[];
  [other: string]: unknown;
}

export interface Workflow {
  format: "latentloom/1";
  name: string;
  inputs: NamedInput[];
  outputs: NamedOutput[];
  nodes: Record<string, WorkflowNode>;
  layout: Layout;
  extra?: unknown;
  /** The sub-workflows by name, which nodes of type `graph/NAME` use. */
  graphs?: Record<string, Graph>;
}

/** A sub-workflow. All share the `graphs` of their document. */
export type Graph = Omit<Workflow, "format" | "graphs">;

export function isEdge(value: unknown): value is Edge {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const { node, output, ...rest } = value as Record<string, unknown>;
  return typeof node === "string" && typeof output === "string" && Object.keys(rest).length === 0;
}

/** The edges that an input's value holds, with their place in a list. */
export function edgesIn(value: unknown): { edge: Edge; index: number | null }[] {
  if (isEdge(value)) return [{ edge: value, index: null }];
  if (!Array.isArray(value)) return [];
  return value.flatMap((item, index) => (isEdge(item) ? [{ edge: item, index }] : []));
}

/** A literal as it stands in the document: objects, and lists that hold objects, are wrapped. */
export function wrapped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => (isObject(item) ? { literal: item } : item));
  return isObject(value) ? { literal: value } : value;
}

/** The literal that `wrapped` wrote. */
export function unwrapped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrappedItem);
  return unwrappedItem(value);
}

function unwrappedItem(value: unknown): unknown {
  return isObject(value) && Object.keys(value).length === 1 && "literal" in value ? value.literal : value;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function emptyWorkflow(name = ""): Workflow {
  return {
    format: "latentloom/1",
    name,
    inputs: [],
    outputs: [],
    nodes: {},
    layout: { nodes: {}, groups: [], notes: [] },
  };
}

/** Whether nothing stands on the canvas. */
export const isBlank = ({ nodes, layout }: Workflow) =>
  Object.keys(nodes).length + layout.groups.length + layout.notes.length === 0;

/** The document as the API's types name it: any JSON object. */
export const asJson = (workflow: Workflow) => workflow as unknown as Record<string, unknown>;
