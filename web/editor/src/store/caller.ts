/** Whom the server sees in this editor. */

import { create } from "zustand";
import type { Schemas } from "../api/client";

/** The role decides what the editor offers: an admin may pause the queue, a viewer only looks. Empty until it is known. */
export const useCaller = create<{ role: string }>()(() => ({ role: "" }));

/** Remember whom the server saw. */
export const seenBy = ({ role = "" }: Schemas["System"]) => useCaller.setState({ role });
