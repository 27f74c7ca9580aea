import type { ComponentType } from "react";
import type { InputPort } from "../api/client";
import { ChoiceWidget } from "./ChoiceWidget";
import { JsonWidget } from "./JsonWidget";
import { MultilineWidget } from "./MultilineWidget";
import { NumberWidget } from "./NumberWidget";
import { SwitchWidget } from "./SwitchWidget";
import { TextWidget } from "./TextWidget";

/** What every widget gets: a port, its value as a plain literal, and a way to change it. */
export interface WidgetProps {
  /** For the <label htmlFor> that stands before the widget. */
  id: string;
  port: InputPort;
  /** The literal without {literal: ...}; undefined: the document has none, the port's default holds. */
  value: unknown;
  /** Undefined takes the value out of the document. Changes close to each other become one step of undo. */
  onChange(value: unknown): void;
  disabled?: boolean;
  /** The node that the port belongs to; absent in the form. */
  node?: string;
}

export type Widget = ComponentType<WidgetProps>;

/** By the port's `widget` first, then by its kind. */
const WIDGETS: Record<string, Widget> = {
  multiline: MultilineWidget,
  INT: NumberWidget,
  FLOAT: NumberWidget,
  STRING: TextWidget,
  BOOLEAN: SwitchWidget,
  CHOICE: ChoiceWidget,
  MODEL_FILE: ChoiceWidget,
  FILE: ChoiceWidget,
};

/** The widget of a port; one that nobody knows, and a list, is JSON. */
export function widgetOf(port: InputPort): Widget {
  if (port.is_list) return JsonWidget;
  return (port.widget ? WIDGETS[port.widget] : undefined) ?? WIDGETS[port.kind] ?? JsonWidget;
}

const WIDE = new Set<Widget>([MultilineWidget, JsonWidget]);

/** Whether a widget takes the whole width, below its label. */
export const isWide = (port: InputPort) => WIDE.has(widgetOf(port));

const LITERAL = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "CHOICE", "JSON", "FILE", "MODEL_FILE", "ANY"]);

/** Whether a value can stand in the document at a port; otherwise it takes an edge. */
export const takesLiteral = (port: InputPort) => LITERAL.has(port.kind);
