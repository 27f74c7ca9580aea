import { useEffect, useMemo, useRef, useState } from "react";
import type { NodeSpec } from "../api/client";
import { BLOCK, blockSpec } from "../document/blocks";
import { paste } from "../document/clip";
import type { Edit } from "../document/edit";
import { addNode, freshId } from "../document/edit";
import { withGraphs } from "../document/graphs";
import { graphsAlong, wouldRecur } from "../document/levels";
import type { Point, Workflow } from "../document/types";
import { nodeName, typeName } from "../document/names";
import { inletFor, inputPort, nodeOf, outletFor, outputPort, replaceType, wire } from "../document/wiring";
import { loadBlocks, useBlocks } from "../store/blocks";
import { colourOf, useCatalog } from "../store/catalog";
import { useDocument } from "../store/document";
import { pathOf } from "../store/opened";
import { seenNow } from "../store/seen";
import { specsNow, useSpecs } from "../store/specs";
import { useSettings } from "../settings/settings";
import { strings, useStrings } from "../strings";
import { composes } from "../widgets/keys";
import { useFocusBack } from "../widgets/useModal";
import { searchOf } from "./ranking";
import type { PaletteRequest } from "./state";
import { useCanvas } from "./state";

/** The search for a node type; open while the canvas' state has a request for one. */
export function Palette() {
  const request = useCanvas((state) => state.palette);
  return request && <Search request={request} />;
}

function Search({ request }: { request: PaletteRequest }) {
  const all = useStrings();
  const words = all.canvas;
  const uses = useSettings((state) => state.uses);
  const types = useCatalog((state) => state.types);
  const specs = useSpecs();
  const set = useCanvas((state) => state.set);
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const { workflow } = seenNow();
  const open = useOpenGraph();
  const blocks = useBlockSpecs();
  const fitting = useMemo(
    () =>
      [...specs.values(), ...(request.replace ? [] : blocks)].filter(
        (spec) => suits(workflow, specs, spec, request) && !(open && wouldRecur(workflow.graphs, spec.type, open)),
      ),
    [workflow, specs, blocks, request, open],
  );
  const search = useMemo(
    () => searchOf(fitting, (spec) => ({ name: typeName(all, spec.type, spec), words: all.nodes.words[spec.type] ?? "" }), uses),
    [fitting, all, uses],
  );
  const found = useMemo(() => search(text), [search, text]);
  const chosen = Math.min(at, found.length - 1);

  useFocusBack();
  useEffect(() => dialog.current?.showModal(), []);
  useEffect(() => {
    document.getElementById(`palette-${chosen}`)?.scrollIntoView({ block: "nearest" });
  }, [chosen]);

  const close = () => set({ palette: null });
  const take = (spec: NodeSpec | undefined) => {
    if (!spec) return;
    if (request.replace) putInPlace(request.replace, spec);
    else put(spec, request);
    useSettings.getState().set({ uses: { ...uses, [spec.type]: (uses[spec.type] ?? 0) + 1 } });
    close();
  };
  const keys: Record<string, () => void> = {
    ArrowDown: () => setAt(Math.min(chosen + 1, found.length - 1)),
    ArrowUp: () => setAt(Math.max(chosen - 1, 0)),
    Enter: () => take(found[chosen]),
  };

  return (
    <dialog ref={dialog} className="palette" aria-label={titleOf()} onClose={close} onClick={(event) => event.target === dialog.current && close()}>
      <div className="palette-inner">
        <p className="palette-title quiet">{titleOf()}</p>
        <input
          className="field palette-field"
          role="combobox"
          aria-expanded
          aria-controls="palette-list"
          aria-activedescendant={found.length ? `palette-${chosen}` : undefined}
          aria-label={words.palette.search}
          placeholder={words.palette.search}
          autoFocus
          value={text}
          onChange={(event) => (setText(event.target.value), setAt(0))}
          onKeyDown={(event) => {
            if (composes(event) || !keys[event.key]) return;
            event.preventDefault();
            keys[event.key]?.();
          }}
        />
        <ul id="palette-list" role="listbox" aria-label={titleOf()} className="palette-list">
          {found.map((spec, n) => (
            <li key={spec.type} id={`palette-${n}`} role="option" aria-selected={n === chosen} onPointerMove={() => setAt(n)} onClick={() => take(spec)}>
              <span className="palette-name" title={spec.type}>
                {typeName(all, spec.type, spec)}
              </span>
              <span className="palette-category">{spec.category || spec.distribution.split(" ")[0]}</span>
              <span className="palette-kinds" aria-hidden="true">
                {spec.outputs.map(({ name, kind }) => (
                  <i key={name} style={{ background: colourOf(types, kind) }} />
                ))}
              </span>
              <span className="palette-help">{spec.help.split("\n")[0]}</span>
            </li>
          ))}
        </ul>
        {found.length === 0 && <p className="quiet palette-none">{words.palette.none}</p>}
      </div>
    </dialog>
  );

  function titleOf(): string {
    const { loose, replace } = request;
    const old = replace && workflow.nodes[replace];
    if (old) return words.palette.replace(nodeName(strings(), old, specs.get(old.type)));
    if (loose && "from" in loose) return words.palette.takes(outputPort(workflow, specs, loose.from)?.kind ?? "");
    if (loose) return words.palette.gives(inputPort(workflow, specs, loose.to.node, loose.to.input)?.kind ?? "");
    return words.palette.title;
  }
}

/** The shipped blocks as node types, under "blocks". */
function useBlockSpecs(): NodeSpec[] {
  const blocks = useBlocks((state) => state.blocks);
  const specs = useCatalog((state) => state.specs);
  const words: Partial<Record<string, [string, string]>> = useStrings().panels.templates.names;
  useEffect(() => void loadBlocks().catch(() => undefined), []); // without the server the node types remain
  return useMemo(
    () => blocks.flatMap(({ name, piece }) => blockSpec(specs, name, piece, words[name] ?? [name, ""])),
    [blocks, specs, words],
  );
}

/** The name of the sub-workflow that the canvas shows. */
const useOpenGraph = () => useDocument((state) => graphsAlong(state.workflow, pathOf(state)).at(-1));

function suits(workflow: Workflow, specs: ReadonlyMap<string, NodeSpec>, spec: NodeSpec, { loose }: PaletteRequest): boolean {
  if (!loose) return true;
  if ("from" in loose) {
    const output = outputPort(workflow, specs, loose.from);
    return output !== undefined && inletFor(spec, output) !== undefined;
  }
  const input = inputPort(workflow, specs, loose.to.node, loose.to.input);
  return input !== undefined && outletFor(spec, input) !== undefined;
}

function put(spec: NodeSpec, { at, loose }: PaletteRequest) {
  const { edit, select } = seenNow();
  const { id, added } = addition(spec, { x: Math.round(at.x), y: Math.round(at.y) });
  edit((current) => {
    const next = added(current);
    if (!loose) return next;
    const specs = withGraphs(useCatalog.getState().specs, next.graphs);
    if ("from" in loose) {
      const output = outputPort(next, specs, loose.from);
      const input = output && inletFor(spec, output);
      return input ? wire(next, specs, loose.from, { node: id, input: input.name, index: null })(next) : next;
    }
    const input = inputPort(next, specs, loose.to.node, loose.to.input);
    const output = input && outletFor(spec, input);
    return output ? wire(next, specs, { node: id, output: output.name }, loose.to)(next) : next;
  });
  select([id]);
}

/** The edit that adds a node of a type; for a block, with the sub-workflow that it uses. */
function addition(spec: NodeSpec, place: Point): { id: string; added: Edit } {
  const { workflow } = seenNow();
  const block = useBlocks.getState().blocks.find(({ name }) => BLOCK + name === spec.type);
  if (block) {
    const { edit, ids } = paste(workflow, block.piece, place, false);
    return { id: ids[0] ?? "", added: edit };
  }
  const id = freshId(spec.type, (name) => name in workflow.nodes);
  return { id, added: addNode(id, nodeOf(spec, useCatalog.getState().choices), place) };
}

function putInPlace(id: string, spec: NodeSpec) {
  const { workflow, edit } = seenNow();
  const { choices } = useCatalog.getState();
  const specs = specsNow();
  edit(replaceType(workflow, specs, choices, id, spec));
}
