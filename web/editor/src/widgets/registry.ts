import type { InputPort } from "../api/client";
import { ChoiceWidget } from "./ChoiceWidget";
import { ColourWidget } from "./ColourWidget";
import { ComboWidget } from "./ComboWidget";
import { framed } from "./framed";
import { JsonWidget } from "./JsonWidget";
import { listWidget } from "./ListWidget";
import { MultilineWidget } from "./MultilineWidget";
import { NumberWidget } from "./NumberWidget";
import { MaskWidget, PictureWidget } from "./PictureWidget";
import { SeedWidget } from "./SeedWidget";
import { SwitchWidget } from "./SwitchWidget";
import { TextWidget } from "./TextWidget";
import type { Widget } from "./widget";

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
const LIST = framed(listWidget(widgetOf));
const JSON_TEXT = framed(JsonWidget);
const LISTED = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "CHOICE", "MODEL_FILE"]);
const MANY = 12;

/** The widget of a port; one that nobody knows is JSON. */
export function widgetOf(port: InputPort): Widget {
  if (port.is_list) return LISTED.has(port.kind) ? LIST : JSON_TEXT;
  if (port.kind === "CHOICE" && (port.choices.length > MANY || port.source)) return COMBO;
  if (port.source === "datasets") return COMBO;
  return (port.widget ? WIDGETS[port.widget] : undefined) ?? WIDGETS[port.kind] ?? JSON_TEXT;
}

const WIDE = new Set<Widget | undefined>([WIDGETS.multiline, WIDGETS.mask, WIDGETS.FILE, LIST, JSON_TEXT]);

/** Whether a port's widget wants the whole width of its node, below its label. */
export const isWide = (port: InputPort) => WIDE.has(widgetOf(port));

const LITERAL = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "CHOICE", "JSON", "FILE", "MODEL_FILE", "ANY"]);

/** Whether a value can stand in the document at a port; otherwise it takes an edge. */
export const takesLiteral = (port: InputPort) => LITERAL.has(port.kind);
