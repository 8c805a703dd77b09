// Verifies tokens with jose: node verify.mjs JWKS_URL ISSUER AUDIENCE
//
// It greets with a line, and answers each line of JSON with one: {"token": "..."}
// with the subject of the token or an error, {} once it has fetched the keys again.
import { createInterface } from 'node:readline';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const [url, issuer, audience] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(url));
const expected = { issuer, audience, typ: 'at+jwt', algorithms: ['RS256', 'ES256', 'EdDSA'] };

async function answer({ token }) {
  try {
    if (token === undefined) {
      await keys.reload();
      return {};
    }
    const { payload } = await jwtVerify(token, keys, expected);
    return { subject: payload.sub };
  } catch (e) {
    return { error: `${e.code}: ${e.message}` };
  }
}

console.log(`jose on Node ${process.version}`);
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
