import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Lays a .gz beside every asset; the server sends it to browsers that take it. */
function compressed(): Plugin {
  let assets = "";
  return {
    name: "compressed",
    apply: "build",
    configResolved({ root, build }) {
      assets = resolve(root, build.outDir, "assets");
    },
    closeBundle() {
      for (const name of readdirSync(assets).filter((name) => /\.(js|css|svg)$/.test(name)))
        writeFileSync(join(assets, `${name}.gz`), gzipSync(readFileSync(join(assets, name)), { level: 9 }));
    },
  };
}

/** Lays the licence texts of the packages beside what is built from them: their licences ask for that. */
function licensed(): Plugin {
  return {
    name: "licensed",
    apply: "build",
    generateBundle(_, bundle) {
      const modules = Object.values(bundle).flatMap((part) => (part.type === "chunk" ? Object.keys(part.modules) : []));
      const folders = modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id.replace(/^\0/, ""))?.[0] ?? []);
      this.emitFile({ type: "asset", name: "licenses.txt", source: [...new Set(folders)].sort().map(licenceOf).join("\n\n") });
    },
  };
}

function licenceOf(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Record<string, string>;
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  return [`${name} ${version} (${license})`, file && readFileSync(join(folder, file), "utf8").trim()].filter(Boolean).join("\n\n");
}

export default defineConfig({
  base: "./",
  plugins: [react(), compressed(), licensed()],
  build: { outDir: "../dist", emptyOutDir: true, assetsInlineLimit: 0, target: "es2022" },
  server: { proxy: { "/api": { target: "http://localhost:8420", ws: true } } },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"], restoreMocks: true },
});
