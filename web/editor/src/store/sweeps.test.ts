import { afterEach, expect, it, vi } from "vitest";
import { answering, json } from "../api/net";
import type { Cell } from "../document/grid";
import { emptyWorkflow } from "../document/types";
import { startSweep, takeValues, useSweeps } from "./sweeps";
import { activeTab, useWorkspace } from "./workspace";

afterEach(() => vi.unstubAllGlobals());

const open = () =>
  useWorkspace.getState().open({
    ...emptyWorkflow("Star"),
    inputs: [
      { name: "steps", to: [{ node: "sample", input: "steps" }] },
      { name: "seed", to: [{ node: "sample", input: "seed" }, { node: "again", input: "seed" }] },
    ],
    nodes: {
      sample: { type: "KSampler", version: 1, inputs: { steps: 20, seed: 1 } },
      again: { type: "KSampler", version: 1, inputs: {} },
    },
  });

const notices = () => useWorkspace.getState().notices.map(({ text }) => text);

it("a cell's values are set in one step of undo; what the workflow has no input for is told", () => {
  const { document } = open();
  const before = document.getState().workflow;
  takeValues({ inputs: { seed: "18446744073709551615", steps: 2, cfg: 3 } } as unknown as Cell);
  const { nodes } = activeTab().document.getState().workflow;

  expect([nodes.sample?.inputs, nodes.again?.inputs]).toEqual([
    { steps: 2, seed: "18446744073709551615" },
    { seed: "18446744073709551615" },
  ]);
  expect(notices()).toContain("The workflow no longer has these inputs: cfg");
  document.temporal.getState().undo();
  expect(document.getState().workflow).toBe(before);
});

it("the first axis is sent last, as it changes fastest; the batch is shown", async () => {
  const tab = open();
  const asked = answering(() => json({ id: "b1", name: "Star", state: "running", total: 4, counts: {} }, 201));
  await startSweep(tab, [{ input: "steps", values: [1, 2] }, { input: "seed", values: [3, 4] }]);
  const body = (await asked[0]?.json()) as { axes: unknown };

  expect(body.axes).toEqual([{ input: "seed", values: [3, 4] }, { input: "steps", values: [1, 2] }]);
  expect(useSweeps.getState().sheets[tab.view]).toMatchObject({ shown: "b1", ordering: false, problems: [] });
  expect(useSweeps.getState().listed).toEqual(["b1"]);
});

it("a refusal keeps its problems beside the axes", async () => {
  const tab = open();
  const problems = [{ code: "out_of_range", message: "steps is too small", input: "steps", expected: "at least 1", got: "0" }];
  answering(() => json({ code: "out_of_range", message: "steps is too small", problems }, 422));
  await startSweep(tab, [{ input: "steps", values: [0] }]);

  expect(useSweeps.getState().sheets[tab.view]).toMatchObject({ shown: null, ordering: false, problems });
});
