import { useEffect } from "react";
import { clock } from "../api/clock";
import { told } from "../api/client";
import { insertSaved } from "../canvas/actions";
import { loadDrafts, openDraft, useDrafts } from "../store/drafts";
import { openSaved } from "../store/session";
import { useWorkspace } from "../store/workspace";
import type { Strings } from "../strings";
import { useStrings } from "../strings";

const PICTURES = import.meta.glob<string>("./templates/*.jpg", { eager: true, query: "?url", import: "default" });

type TemplateName = keyof Strings["panels"]["templates"]["names"];

/** The workflows in the box: those that make pictures, those for models of one's own, those that explain, parts of others. */
export const TEMPLATES = {
  start: [
    "txt2img",
    "img2img",
    "inpaint",
    "outpaint",
    "upscale",
    "hires",
    "iterative-upscale",
    "regions",
    "edges",
    "seeds",
    "prompt-to-prompt",
    "inpaint-detail",
  ],
  models: [
    "flux-dev",
    "flux-turbo",
    "flux-kontext",
    "flux-fill",
    "flux-redux",
    "flux2-klein",
    "flux2-klein-edit",
    "flux2-dev",
    "chroma",
    "qwen-image",
    "qwen-image-lightning",
    "qwen-image-edit",
    "qwen-image-edit-lightning",
    "qwen-image-21",
    "qwen-image-21-edit",
    "krea-2",
    "sd3",
    "z-image",
    "z-image-edges",
    "train-lora",
  ],
  learn: [
    "sampler-grid",
    "cfg-sweep",
    "flow",
    "denoising-steps",
    "forward-noising",
    "latent-channels",
    "schedules",
    "tokens",
    "vae-round-trip",
  ],
  blocks: ["text-to-image-core", "hires-pass", "detailer", "inpaint-crop-stitch"],
} as const satisfies Record<string, readonly TemplateName[]>;

const WHOLE = ["start", "models", "learn"] as const;
const DRAFTS_SHOWN = 4;

/** What an empty canvas shows: templates, and the drafts that one can go on with. */
export function Templates() {
  const words = useStrings().panels.templates;
  return (
    <section className="templates" aria-label={words.title}>
      <h2>{words.title}</h2>
      <p className="quiet">{words.hint}</p>
      <Continue />
      <TemplateCards />
    </section>
  );
}

function Continue() {
  const { templates: words, ago } = useStrings().panels;
  const drafts = useDrafts((state) => state.drafts);
  useEffect(() => void loadDrafts().catch(() => undefined), []); // without the server there is nothing to go on with
  if (drafts.length === 0) return null;
  return (
    <>
      <h3>{words.continue}</h3>
      <div className="template-drafts">
        {drafts.slice(0, DRAFTS_SHOWN).map(({ id, name, saved }) => (
          <button key={id} className="button" onClick={() => void openDraft(id)}>
            {name} <span className="quiet">{ago(clock.now() - saved)}</span>
          </button>
        ))}
      </div>
    </>
  );
}

export function TemplateCards({ small = false }: { small?: boolean }) {
  const words = useStrings().panels.templates;
  return (
    <>
      {(small ? [...WHOLE, "blocks" as const] : WHOLE).map((part) => (
        <div key={part}>
          <h3>{words[part]}</h3>
          <ul className="template-cards" data-small={small || undefined}>
            {TEMPLATES[part].map((name) => (
              <Card key={name} name={name} act={part === "blocks" ? insertSaved : openTemplate} />
            ))}
          </ul>
        </div>
      ))}
    </>
  );
}

function Card({ name, act }: { name: TemplateName; act(name: string): Promise<void> }) {
  const [title, about] = useStrings().panels.templates.names[name];
  const picture = PICTURES[`./templates/${name}.jpg`];
  return (
    <li>
      <button className="template" onClick={() => void act(name)}>
        {picture && <img src={picture} alt="" width={320} height={200} loading="lazy" />}
        <span className="template-title">{title}</span>
        <span className="quiet">{about}</span>
      </button>
    </li>
  );
}

async function openTemplate(name: string): Promise<void> {
  try {
    await openSaved(name, 0);
  } catch (error) {
    useWorkspace.getState().notify("error", told(error));
  }
}
