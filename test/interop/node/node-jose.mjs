// Verifies tokens with node-jose: node node-jose.mjs JWKS_URL ISSUER AUDIENCE
//
// It answers lines like verify.mjs. node-jose verifies signatures alone, so the claims are checked here.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import jose from 'node-jose';

const [url, issuer, audience] = process.argv.slice(2);
const fetchKeys = async () => jose.JWK.asKeyStore(await (await fetch(url)).json());
let keys = await fetchKeys();

async function answer({ token }) {
  try {
    if (token === undefined) {
      keys = await fetchKeys();
      return {};
    }
    const { payload } = await jose.JWS.createVerify(keys, { algorithms: ['RS256', 'PS256', 'ES256'] }).verify(token);
    const { sub, iss, aud } = JSON.parse(payload);
    return iss === issuer && aud === audience ? { subject: sub } : { error: `another audience or issuer: ${aud}, ${iss}` };
  } catch (e) {
    return { error: e.message };
  }
}

const { version } = createRequire(import.meta.url)('node-jose/package.json');
console.log(`node-jose ${version} on Node ${process.version}`);
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
