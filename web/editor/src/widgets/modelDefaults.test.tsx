import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test } from "vitest";
import { input } from "../document/samples";
import { useCatalog } from "../store/catalog";
import { keyOf, useModels } from "../store/models";
import { activeTab } from "../store/workspace";
import { ModelDefaults } from "./ModelDefaults";

const SOURCE = "models/checkpoints";
const PORT = { ...input("checkpoint", "MODEL_FILE"), source: SOURCE };
const FACTS = { about: "a model", weights: "", parts: ["model"], defaults: { steps: 4, cfg: 1, width: 256, height: 256 } };

afterEach(cleanup);

function open(steps: number) {
  const spec = (type: string, inputs: object[]) => [type, { type, inputs, outputs: [] }] as const;
  const sampler = spec("Sample", [input("model", "MODEL"), input("steps", "INT")]);
  useCatalog.setState({ specs: new Map([spec("Load", [PORT]), sampler]) as never, choices: { [SOURCE]: ["some"] } });
  useModels.setState({ facts: { [keyOf(SOURCE, "some")]: FACTS } });
  const { document } = activeTab();
  const node = (type: string, inputs: Record<string, unknown>) => ({ type, version: 1, inputs });
  const nodes = { a: node("Load", { checkpoint: "some" }), b: node("Sample", { model: { node: "a", output: "model" }, steps }) };
  document.getState().replace({ ...document.getState().workflow, nodes });
  return document;
}

test("a chosen model's settings are shown, and one click, which one undo takes back, puts them in", async () => {
  const document = open(20);
  render(<ModelDefaults node="a" port={PORT} value="some" />);
  expect(screen.getByText("The model's defaults: steps 4, cfg 1, 256 × 256")).toBeTruthy();
  await userEvent.click(screen.getByRole("button", { name: "Use the model's defaults" }));
  const steps = () => document.getState().workflow.nodes.b?.inputs.steps;
  expect([steps(), screen.queryByRole("button")]).toEqual([4, null]);
  document.temporal.getState().undo();
  expect(steps()).toBe(20);
});

test("nothing is shown for another kind of file, for no name and for one that the server has not", () => {
  open(20);
  render(
    <>
      <ModelDefaults node="a" port={{ ...PORT, source: "models/loras" }} value="some" />
      <ModelDefaults node="a" port={PORT} value={null} />
      <ModelDefaults node="a" port={PORT} value="gone" />
    </>,
  );
  expect(screen.queryByText(/defaults/)).toBeNull();
});
