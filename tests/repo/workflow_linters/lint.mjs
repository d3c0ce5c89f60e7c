// Print, as JSON, what GitHub's language service says of workflows and actions: node lint.mjs ROOT PATH...
import { readFileSync } from "node:fs";
import { register } from "node:module";
import { join } from "node:path";

register("./json_imports.mjs", import.meta.url);
const { validate } = await import("@actions/languageservice");
const { TextDocument } = await import("vscode-languageserver-textdocument");

const [root, ...paths] = process.argv.slice(2);
const read = (path) => readFileSync(join(root, path), "utf8");
const fileProvider = { getFileContent: async ({ path }) => ({ name: path, content: read(path) }) };

const found = [];
for (const path of paths) {
  const document = TextDocument.create(path, "yaml", 1, read(path));
  for (const { message, range } of await validate(document, { fileProvider })) {
    found.push({ path, line: range.start.line + 1, message });
  }
}
console.log(JSON.stringify(found));
