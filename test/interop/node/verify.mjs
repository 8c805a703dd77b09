// Verifies tokens with jose: node verify.mjs JWKS_URL ISSUER AUDIENCE
//
// It prints a line with the version of Node. Then it reads lines of JSON and answers each
// with a line of JSON. If the line is {"token": "..."}, it answers with the subject of the
// token, or with an error. If the line is {}, it fetches the keys again and answers {}.
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
