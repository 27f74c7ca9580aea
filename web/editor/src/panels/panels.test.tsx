import { existsSync, readdirSync } from "node:fs";
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, it, vi } from "vitest";
import type { OutputFile } from "../api/client";
import { useSettings } from "../settings/settings";
import { seenBy } from "../store/caller";
import { ask } from "../store/question";
import { useQueue } from "../store/queue";
import { activeTab } from "../store/workspace";
import { LANGUAGES } from "../strings";
import { differing } from "./Compare";
import { ProblemsPanel } from "./ProblemsPanel";
import { QuestionDialog } from "./QuestionDialog";
import { fullText } from "./QueueJob";
import { QueuePanel } from "./QueuePanel";
import { TEMPLATES } from "./Templates";

afterEach(cleanup);

it("every workflow in the box is a template with words in every language, and with a picture where it runs", () => {
  const shipped = ["../../workflows", "../../workflows/blocks"].flatMap((folder) => readdirSync(folder)).filter((name) => name.endsWith(".json"));
  const known = Object.values(TEMPLATES).flat().toSorted();

  expect(known).toEqual(shipped.map((name) => name.replace(".json", "")).toSorted());
  for (const name of [...TEMPLATES.start, ...TEMPLATES.learn, ...TEMPLATES.blocks])
    expect(existsSync(`src/panels/templates/${name}.jpg`), name).toBe(true);
  for (const { strings } of Object.values(LANGUAGES))
    expect(Object.keys(strings.panels.templates.names).toSorted()).toEqual(known);
});

it("Enter is the first choice, with what was written", async () => {
  const person = userEvent.setup();
  render(<QuestionDialog />);
  const choices = [
    { id: "save", label: "Save it" },
    { id: "other", label: "Another" },
  ];
  const asked = ask({ title: "Save", field: { label: "Name", value: "Stars" }, choices });
  const field = await screen.findByLabelText("Name");
  await person.clear(field);
  expect(screen.getByRole("button", { name: "Save it" })).toHaveProperty("disabled", true);
  await person.type(field, "Moon{Enter}");

  expect(await asked).toEqual({ choice: "save", text: "Moon" });
});

it("a problem tells where, what was expected, what came and what to do", () => {
  useSettings.getState().set({ language: "en" });
  const problem = {
    code: "out_of_range",
    message: "steps is too small",
    node: "sample",
    input: "steps",
    expected: "at least 1",
    got: "0",
    hint: "try 20",
  };
  activeTab().document.getState().set({ checked: { problems: [problem], inputs: [], outputs: [] } });
  const { container } = render(<ProblemsPanel />);

  expect(container.textContent).toBe("sample · stepssteps is too smallexpected at least 1, got 0try 20");
  expect(fullText(problem)).toBe(
    "steps is too small\n\ncode: out_of_range\nnode: sample\ninput: steps\nexpected: at least 1\ngot: 0\nhint: try 20",
  );
});

it("only what differs between two pictures is told", () => {
  const left = { texts: "a star", seed: "1", models: ["shapes"], width: 64, height: 64, workflow: "w" } as OutputFile;

  expect(differing(left, { ...left, seed: "2", height: 128 })).toEqual([
    ["seed", "1", "2"],
    ["size", "64 × 64", "64 × 128"],
  ]);
  expect(differing(left, { ...left })).toEqual([]);
});

it.each([
  ["admin", ["Pause", "Cancel all waiting jobs"]],
  ["user", ["Cancel all waiting jobs"]],
  ["viewer", []],
])("the queue offers what a caller with the role %s may do", (role, offered) => {
  useSettings.getState().set({ language: "en" });
  vi.stubGlobal("fetch", () => new Promise(() => {})); // the queue stays as it is
  seenBy({ role } as Parameters<typeof seenBy>[0]);
  useQueue.setState({ known: true, waiting: [{ id: "j", name: "Stars", state: "queued", problems: [], tags: [] } as never] });
  const { container } = render(<QueuePanel />);

  const buttons = [...container.querySelectorAll(".toolbar button")].map((button) => button.textContent);
  expect(buttons).toEqual(offered);
  vi.unstubAllGlobals();
});
