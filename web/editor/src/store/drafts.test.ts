import { expect, it } from "vitest";
import { sample } from "../document/samples";
import { asDraft, fromDraft } from "./drafts";

it("a draft remembers which saved workflow it changes, and gives the document back as it was", () => {
  const source = { name: "Stars", version: 3 };

  expect(fromDraft(asDraft({ workflow: sample(), source }))).toEqual({ workflow: sample(), source });
  expect(fromDraft(asDraft({ workflow: sample(), source: null }))).toEqual({ workflow: sample(), source: null });
});

it.each([3, { name: "Stars" }, null])("a source like %j is none", (source) => {
  const draft = { ...sample(), layout: { ...sample().layout, source } };

  expect(fromDraft(draft)).toEqual({ workflow: sample(), source: null });
});
