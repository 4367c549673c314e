"use strict";
// Swagger UI, and what it lacks: answers that are sound, pictures, video or other bytes are played
// or shown, and can be saved. It asks for the sound again by GET, which a function does not answer.

const EXTENSIONS = { "audio/mpeg": "mp3", "audio/mp4": "m4a", "image/jpeg": "jpg" };

function fileName(url, headers, type) {
  const disposition = headers["content-disposition"] || "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(disposition);
  const plain = /filename="([^"]+)"/i.exec(disposition);
  try {
    if (encoded) return decodeURIComponent(encoded[1]);
  } catch { /* no UTF-8: as if it had no name */ }
  if (plain) return plain[1];
  const name = new URL(url, location.origin).pathname.split("/").slice(-2).join("-");
  const kind = type.split("/").pop().replace(/^x-/, "");
  return `${name}.${EXTENSIONS[type] || (/^[a-z0-9]{2,5}$/.test(kind) ? kind : "bin")}`;
}

const binaryAnswers = ({ React }) => {
  const make = React.createElement;

  function BinaryAnswer({ content, contentType, url, headers }) {
    const type = (contentType || "").split(";")[0].trim().toLowerCase();
    const [kind] = type.split("/");
    const tag = { audio: "audio", video: "video", image: "img" }[kind];
    const [blob, setBlob] = React.useState(null);
    React.useEffect(() => {
      // Other types as mere bytes: a browser that opens them shows no page of our origin.
      const kept = tag ? content : content.slice(0, content.size, "application/octet-stream");
      const made = URL.createObjectURL(kept);
      setBlob(made);
      return () => URL.revokeObjectURL(made);
    }, [content]);
    if (blob === null) return null;
    const name = fileName(url, headers || {}, type);
    const options = { src: blob, style: { display: "block", maxWidth: "100%", margin: "0 0 .5rem" } };
    if (tag !== "img") options.controls = true;
    return make("div", { className: "binary-answer" },
      make("h5", null, "Response body"),
      tag && content.size ? make(tag, options) : null,
      make("a", { href: blob, download: name }, `Save ${name}`), ` (${content.size} bytes)`);
  }

  return {
    wrapComponents: {
      responseBody: (Original) => (answer) =>
        make(answer.content instanceof Blob ? BinaryAnswer : Original, answer),
    },
  };
};

SwaggerUIBundle({
  // With the origin: the page's own address may have user and password in it, and a browser
  // fetches no such address.
  url: location.origin + "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [binaryAnswers],
});
