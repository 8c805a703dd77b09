// An issuer with jose, whose RSA key has no alg: node issue.mjs
//
// It prints a line with its version, and a line with the public JWK. Then it reads lines of JSON, and
// answers each with a line of JSON. A question is {"alg", "kid", "claims"}. If kid is not empty, it is
// for the header. The answer is {"token"}.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { SignJWT, exportJWK, generateKeyPair, importJWK } from 'jose';

const { publicKey, privateKey } = await generateKeyPair('PS256', { extractable: true });
const key = await exportJWK(privateKey);

async function answer({ alg, kid, claims }) {
  const header = kid === '' ? { alg } : { alg, kid };
  return { token: await new SignJWT(claims).setProtectedHeader(header).sign(await importJWK(key, alg)) };
}

const { version } = createRequire(import.meta.url)('jose/package.json');
console.log(`jose ${version}, Node ${process.version}`);
console.log(JSON.stringify(await exportJWK(publicKey)));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
