import type { ComponentType } from "react";
import type { InputPort } from "../api/client";
import { ChoiceWidget } from "./ChoiceWidget";
import { ColourWidget } from "./ColourWidget";
import { ComboWidget } from "./ComboWidget";
import { framed } from "./framed";
import { JsonWidget } from "./JsonWidget";
import { ListWidget } from "./ListWidget";
import { MultilineWidget } from "./MultilineWidget";
import { NumberWidget } from "./NumberWidget";
import { MaskWidget, PictureWidget } from "./PictureWidget";
import { SeedWidget } from "./SeedWidget";
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
  /** What the server says is wrong with the value; `framed` finds it. */
  fault?: string;
}

export type Widget = ComponentType<WidgetProps>;

/** By the port's `widget` first, then by its kind. */
const WIDGETS: Record<string, Widget> = {
  multiline: framed(MultilineWidget),
  seed: framed(SeedWidget),
  colour: framed(ColourWidget),
  mask: framed(MaskWidget),
  INT: framed(NumberWidget),
  FLOAT: framed(NumberWidget),
  STRING: framed(TextWidget),
  BOOLEAN: framed(SwitchWidget),
  CHOICE: framed(ChoiceWidget),
  MODEL_FILE: framed(ComboWidget),
  FILE: framed(PictureWidget),
};

const COMBO = framed(ComboWidget);
const LIST = framed(ListWidget);
const JSON_TEXT = framed(JsonWidget);
const LISTED = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "CHOICE", "MODEL_FILE"]);
const MANY = 12;

/** The widget of a port; one that nobody knows is JSON. */
export function widgetOf(port: InputPort): Widget {
  if (port.is_list) return LISTED.has(port.kind) ? LIST : JSON_TEXT;
  if (port.kind === "CHOICE" && (port.choices.length > MANY || port.source)) return COMBO;
  return (port.widget ? WIDGETS[port.widget] : undefined) ?? WIDGETS[port.kind] ?? JSON_TEXT;
}

const WIDE = new Set<Widget | undefined>([WIDGETS.multiline, WIDGETS.mask, WIDGETS.FILE, LIST, JSON_TEXT]);

/** Whether a port's widget wants the whole width of its node, below its label. */
export const isWide = (port: InputPort) => WIDE.has(widgetOf(port));

const LITERAL = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "CHOICE", "JSON", "FILE", "MODEL_FILE", "ANY"]);

/** Whether a value can stand in the document at a port; otherwise it takes an edge. */
export const takesLiteral = (port: InputPort) => LITERAL.has(port.kind);
