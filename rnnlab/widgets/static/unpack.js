// What a page without a kernel holds: everything else, its own script included, packed.

/** The bytes that a page holds as base64 of gzip. */
export async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** The header of the bytes, and where the tables begin. */
export function headed(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  return [JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))), 4 + length];
}

/** A module from its text. */
export async function loaded(text) {
  const source = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const module = await import(source);
  URL.revokeObjectURL(source);
  return module;
}
