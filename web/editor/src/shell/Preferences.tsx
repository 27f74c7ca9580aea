import type { Language } from "../settings/language";
import type { Theme } from "../settings/settings";
import { useSettings } from "../settings/settings";
import { mayNotify } from "../store/notifying";
import { useWorkspace } from "../store/workspace";
import { LANGUAGES, useStrings } from "../strings";
import { Dialog } from "./Dialog";

/** What a person may choose for this browser. */
export function Preferences() {
  const words = useStrings().shell;
  const { theme, language, previews, snap, minimap, notify, set } = useSettings();
  const switches = { previews, snap, minimap, notify };
  const turn = async (name: keyof typeof switches, on: boolean) => {
    const allowed = name !== "notify" || !on || (await mayNotify());
    if (allowed) set({ [name]: on });
    else useWorkspace.getState().notify("warning", words.noNotify);
  };
  return (
    <Dialog name="preferences" title={words.preferences}>
      <div className="form">
        <label htmlFor="theme">{words.theme}</label>
        <select id="theme" className="field" value={theme} onChange={(event) => set({ theme: event.target.value as Theme })}>
          {Object.entries(words.themes).map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
        <label htmlFor="language">{words.language}</label>
        <select id="language" className="field" value={language} onChange={(event) => set({ language: event.target.value as Language })}>
          {Object.entries(LANGUAGES).map(([value, { name }]) => (
            <option key={value} value={value} lang={value}>
              {name}
            </option>
          ))}
        </select>
        {(Object.keys(switches) as (keyof typeof switches)[]).map((name) => (
          <Switch key={name} name={name} label={words.switches[name]} on={switches[name]} set={(on) => void turn(name, on)} />
        ))}
      </div>
    </Dialog>
  );
}

function Switch({ name, label, on, set }: { name: string; label: string; on: boolean; set(on: boolean): void }) {
  return (
    <>
      <label htmlFor={name}>{label}</label>
      <input id={name} className="switch" type="checkbox" role="switch" checked={on} onChange={(event) => set(event.target.checked)} />
    </>
  );
}
