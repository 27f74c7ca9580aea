import type { ComponentType } from "react";
import type { InputPort } from "../api/client";

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
