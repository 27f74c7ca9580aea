/** Commands: each takes a document and gives a changed copy; what did not change keeps its identity. */

import type { Edge, Group, Mode, Note, Place, Point, Workflow, WorkflowNode } from "./types";
import { edgesIn, isEdge } from "./types";

export type Edit = (workflow: Workflow) => Workflow;

/** Which input an edge goes to; `index` is its place in a list. */
export interface Inlet {
  node: string;
  input: string;
  index: number | null;
}

/** A node id that is not taken: the type's name in small letters, then with a number. */
export function freshId(type: string, taken: (id: string) => boolean): string {
  const base = (type.split("/").pop() ?? type).replace(/[^A-Za-z0-9_-]/g, "") || "node";
  const plain = base.replace(/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, "_").toLowerCase();
  for (let n = 1; ; n++) {
    const id = n === 1 ? plain : `${plain}-${n}`;
    if (!taken(id)) return id;
  }
}

export function addNode(id: string, node: WorkflowNode, place: Place): Edit {
  return (workflow) => ({
    ...workflow,
    nodes: { ...workflow.nodes, [id]: node },
    layout: { ...workflow.layout, nodes: { ...workflow.layout.nodes, [id]: place } },
  });
}

export function changeNode(id: string, change: (node: WorkflowNode) => WorkflowNode): Edit {
  return (workflow) => {
    const node = workflow.nodes[id];
    if (node === undefined) return workflow;
    const changed = change(node);
    return changed === node ? workflow : { ...workflow, nodes: { ...workflow.nodes, [id]: changed } };
  };
}

/** Set an input; undefined takes it out, so that the default holds. */
export function setInput(id: string, input: string, value: unknown): Edit {
  return changeNode(id, (node) => {
    if (node.inputs[input] === value && (value !== undefined || !(input in node.inputs))) return node;
    const { [input]: _, ...rest } = node.inputs;
    if (value !== undefined) return { ...node, inputs: { ...node.inputs, [input]: value } };
    return { ...itemByItem(node, node.each?.filter((name) => name !== input)), inputs: rest };
  });
}

/** Let an input's list go item by item: the node runs once for each item. */
export function goItemByItem(id: string, input: string): Edit {
  return changeNode(id, (node) => itemByItem(node, [...(node.each ?? []).filter((name) => name !== input), input]));
}

/** Change what a failed item does: end the run, the default, or be left out. */
export function toggleOnError(id: string): Edit {
  return changeNode(id, (node) => {
    if (!node.each?.length) return node;
    const { on_error, ...rest } = node;
    return on_error === "keep" ? rest : { ...rest, on_error: "keep" };
  });
}

function itemByItem({ each: _, on_error, ...node }: WorkflowNode, names: string[] = []): WorkflowNode {
  return names.length ? { ...node, each: names, ...(on_error ? { on_error } : {}) } : node;
}

export function setTitle(id: string, title: string): Edit {
  return changeNode(id, ({ title: _, ...node }) => (title.trim() ? { ...node, title: title.trim() } : node));
}

/** Put nodes into a mode, or, if all of them are in it, back to active. */
export function toggleMode(ids: Iterable<string>, mode: Exclude<Mode, "active">): Edit {
  return (workflow) => {
    const all = [...ids].filter((id) => id in workflow.nodes);
    const off = all.every((id) => workflow.nodes[id]?.mode === mode);
    return chain(
      ...all.map((id) => changeNode(id, ({ mode: _, ...node }) => (off ? node : { ...node, mode }))),
    )(workflow);
  };
}

/** Lead an edge into an input; one that was there before gives way. Into a list without an index: at its end. */
export function connect(edge: Edge, inlet: Inlet, list = false): Edit {
  return changeNode(inlet.node, (node) => {
    if (!list) return { ...node, inputs: { ...node.inputs, [inlet.input]: edge } };
    const old = node.inputs[inlet.input];
    const items = Array.isArray(old) ? [...old] : [];
    items.splice(inlet.index ?? items.length, 1, edge);
    return { ...node, inputs: { ...node.inputs, [inlet.input]: items } };
  });
}

export function disconnect({ node, input, index }: Inlet): Edit {
  return (workflow) => {
    const value = workflow.nodes[node]?.inputs[input];
    if (Array.isArray(value) && index !== null) {
      const rest = value.filter((_, n) => n !== index);
      return setInput(node, input, rest.length ? rest : undefined)(workflow);
    }
    return isEdge(value) ? setInput(node, input, undefined)(workflow) : workflow;
  };
}

/** Take nodes out, with the edges, named inputs and named outputs that hang on them. */
export function removeNodes(ids: ReadonlySet<string>): Edit {
  return (workflow) => {
    if (![...ids].some((id) => id in workflow.nodes)) return workflow;
    const kept = Object.entries(workflow.nodes).filter(([id]) => !ids.has(id));
    return {
      ...workflow,
      inputs: workflow.inputs
        .map((item) => ({ ...item, to: item.to.filter((target) => !ids.has(target.node)) }))
        .filter((item) => item.to.length > 0),
      outputs: workflow.outputs.filter((item) => !ids.has(item.from.node)),
      nodes: Object.fromEntries(kept.map(([id, node]) => [id, without(node, ids)])),
      layout: {
        ...workflow.layout,
        nodes: Object.fromEntries(Object.entries(workflow.layout.nodes).filter(([id]) => !ids.has(id))),
      },
    };
  };
}

function without(node: WorkflowNode, ids: ReadonlySet<string>): WorkflowNode {
  const dangles = (value: unknown) => edgesIn(value).some(({ edge }) => ids.has(edge.node));
  if (!Object.values(node.inputs).some(dangles)) return node;
  const inputs: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(node.inputs)) {
    if (!dangles(value)) inputs[name] = value;
    else if (Array.isArray(value)) {
      const rest = value.filter((item) => !isEdge(item) || !ids.has(item.node));
      if (rest.length > 0) inputs[name] = rest;
    }
  }
  return { ...node, inputs };
}

// Layout

export function moveNodes(places: ReadonlyMap<string, Point>): Edit {
  return (workflow) => {
    const nodes = { ...workflow.layout.nodes };
    for (const [id, { x, y }] of places) if (nodes[id]) nodes[id] = { ...nodes[id], x, y };
    return { ...workflow, layout: { ...workflow.layout, nodes } };
  };
}

export function changePlace(id: string, change: Partial<Place>): Edit {
  return (workflow) => {
    const place = workflow.layout.nodes[id];
    if (place === undefined) return workflow;
    return { ...workflow, layout: { ...workflow.layout, nodes: { ...workflow.layout.nodes, [id]: { ...place, ...change } } } };
  };
}

export function collapse(ids: Iterable<string>, collapsed: boolean): Edit {
  return chain(...[...ids].map((id) => changePlace(id, { collapsed: collapsed || undefined })));
}

type Thing = "groups" | "notes";

export function addThing<K extends Thing>(kind: K, thing: Workflow["layout"][K][number]): Edit {
  return ({ layout, ...workflow }) => ({ ...workflow, layout: { ...layout, [kind]: [...layout[kind], thing] } });
}

export function changeThing<K extends Thing>(kind: K, id: string, change: Partial<Workflow["layout"][K][number]>): Edit {
  return ({ layout, ...workflow }) => ({
    ...workflow,
    layout: { ...layout, [kind]: layout[kind].map((item) => (item.id === id ? { ...item, ...change } : item)) },
  });
}

export function removeThings(kind: Thing, ids: ReadonlySet<string>): Edit {
  return (workflow) => {
    const things: (Group | Note)[] = workflow.layout[kind];
    if (!things.some((item) => ids.has(item.id))) return workflow;
    return { ...workflow, layout: { ...workflow.layout, [kind]: things.filter((item) => !ids.has(item.id)) } };
  };
}

export function freshNumber(things: readonly { id: string }[]): string {
  return String(Math.max(0, ...things.map((item) => Number(item.id) || 0)) + 1);
}

/** Several edits as one. */
export function chain(...edits: Edit[]): Edit {
  return (workflow) => edits.reduce((done, edit) => edit(done), workflow);
}
