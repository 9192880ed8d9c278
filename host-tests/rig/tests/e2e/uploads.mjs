// Sends a body over HTTP/2 that ends with trailers, and prints the status, the bytes of the answer and its Cache-Status.
//
//   node uploads.mjs URL TYPE BODY

import http2 from 'node:http2';

const [url, type, body] = process.argv.slice(2);
const { origin, pathname } = new URL(url);
const session = http2.connect(origin);
const stream = session.request(
  { ':method': 'POST', ':path': pathname, 'content-type': type },
  { waitForTrailers: true },
);
stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'abc' }));
let told = {};
let length = 0;
stream.on('response', (fields) => { told = fields; });
stream.on('data', (part) => { length += part.length; });
const end = () => {
  console.log(JSON.stringify({ status: told[':status'], length, says: told['cache-status'] }));
  session.destroy();
};
stream.on('close', end);
stream.on('error', () => {});
stream.end(body);
