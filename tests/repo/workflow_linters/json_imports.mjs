// The language service imports JSON as bundlers take it; Node wants to be told that it is JSON.
export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  return found.url.endsWith(".json") ? { ...found, importAttributes: { type: "json" } } : found;
}
