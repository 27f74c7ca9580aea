import { act, cleanup, fireEvent, render } from "@testing-library/react";
import { afterEach, expect, it, vi } from "vitest";
import { NodeHead } from "../canvas/NodeHead";
import { useCanvas } from "../canvas/state";
import { sample } from "../document/samples";
import { FormPanel } from "../panels/FormPanel";
import { useWorkspace } from "../store/workspace";
import { Boundary } from "../widgets/Boundary";
import { useModal } from "../widgets/useModal";
import { Broken } from "./Broken";
import { Notices } from "./Notices";

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const composing = { key: "Enter", isComposing: true, keyCode: 229 };

it("a part that fails is replaced by what helps, and comes back when its cause is gone", () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  const Part = ({ title }: { title: unknown }) => <p>{title as string}</p>;
  const view = (title: unknown) => (
    <Boundary of={title} instead={(error) => <Broken error={error} />}>
      <Part title={title} />
    </Boundary>
  );
  const { rerender, container } = render(view({ odd: 1 }));
  expect([...container.querySelectorAll("button")].map(({ textContent }) => textContent)).toEqual([
    "Reload the page",
    "Copy the workflow",
    "Close the workflow",
  ]);

  rerender(view("fine"));
  expect(container.textContent).toBe("fine");
});

it("Enter that ends a composition ends no renaming, of a node or of a form's entry", () => {
  const tab = useWorkspace.getState().open({ ...sample(), inputs: [{ name: "file", to: [{ node: "load", input: "file" }] }] });
  const { workflow } = tab.document.getState();
  useCanvas.getState().set({ renaming: "load" });
  const { container } = render(
    <>
      <NodeHead id="load" node={workflow.nodes.load!} collapsed={false} />
      <FormPanel />
    </>,
  );
  fireEvent.click([...container.querySelectorAll("button")].find(({ textContent }) => textContent === "Edit form")!);
  const names = [...container.querySelectorAll<HTMLInputElement>("input.field")].filter((field) => !field.closest("details"));
  expect(names).toHaveLength(2);
  for (const field of names) {
    fireEvent.change(field, { target: { value: "nihao" } });
    fireEvent.keyDown(field, composing);
  }

  expect(tab.document.getState().workflow).toBe(workflow);
  expect(useCanvas.getState().renaming).toBe("load");
});

it("a short information goes by itself unless one looks at it; an error stays, and gives way last", () => {
  vi.useFakeTimers();
  useWorkspace.setState({ notices: [] });
  const { notify } = useWorkspace.getState();
  const { container } = render(<Notices />);
  const shown = () => [...container.querySelectorAll(".notice")].map(({ textContent }) => textContent);
  act(() => {
    notify("error", "bad");
    for (const text of ["a", "a", "b", "c", "d"]) notify("info", text);
  });
  expect(shown()).toEqual(["bad", "b", "c", "d"]);
  expect(container.querySelectorAll("[role=alert]")).toHaveLength(1);

  fireEvent.pointerEnter([...container.querySelectorAll(".notice")].at(-1)!);
  act(() => void vi.advanceTimersByTime(7000));
  expect(shown()).toEqual(["bad", "d"]);
  fireEvent.pointerLeave([...container.querySelectorAll(".notice")].at(-1)!);
  act(() => void vi.advanceTimersByTime(7000));
  expect(shown()).toEqual(["bad"]);
});

it("a dialog asks before it closes, and gives the focus back", () => {
  const asked = vi.fn();
  const Asked = () => {
    const [dialog, keys] = useModal(asked);
    return (
      <dialog ref={dialog} {...keys}>
        <input autoFocus />
      </dialog>
    );
  };
  const view = (open: boolean) => (
    <>
      <button>before</button>
      {open && <Asked />}
    </>
  );
  const { container, rerender } = render(view(false));
  container.querySelector("button")!.focus();
  rerender(view(true));
  const field = container.querySelector("input")!;
  expect(fireEvent.keyDown(field, { ...composing, key: "Escape" })).toBe(true);
  expect(fireEvent.keyDown(field, { key: "Escape" })).toBe(false);
  expect(asked).toHaveBeenCalledTimes(1);

  rerender(view(false));
  expect(document.activeElement?.textContent).toBe("before");
});
