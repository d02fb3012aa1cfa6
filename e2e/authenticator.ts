import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";

const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest();
const b64 = (data: Uint8Array | string) => Buffer.from(data).toString("base64url");
const text = (value: string) => Buffer.concat([Buffer.from([0x60 + value.length]), Buffer.from(value)]);
const bytes = (value: Uint8Array) => Buffer.concat([Buffer.from([0x58, value.length]), value]);

/** Whether the authenticator saw a person (0x01), and which (0x04). */
const PRESENT = 0x01;
const VERIFIED = 0x04;
const ATTESTED = 0x40;

/** A passkey in software (WebAuthn Level 3), as a page of `origin` would use it. */
export function makePasskey(origin: string) {
  const id = randomBytes(32);
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x, y } = publicKey.export({ format: "jwk" }) as { x: string; y: string };
  const rpIdHash = sha256(new URL(origin).hostname);
  let counter = 0;
  const authData = (flags: number, rest: Uint8Array = Buffer.alloc(0)) => {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(++counter);
    return Buffer.concat([rpIdHash, Buffer.from([flags]), count, rest]);
  };
  const clientData = (type: string, challenge: string, from = origin) =>
    JSON.stringify({ type, challenge, origin: from, crossOrigin: false });
  const credential = { id: b64(id), rawId: b64(id), type: "public-key", clientExtensionResults: {} };

  return {
    /** What a browser makes of registration options. */
    register({ challenge }: { challenge: string }) {
      // COSE: kty EC2, alg ES256, crv P-256, x, y (RFC 9053 §7.1.1)
      const key = Buffer.concat([
        Buffer.from([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21]),
        bytes(Buffer.from(x, "base64url")),
        Buffer.from([0x22]),
        bytes(Buffer.from(y, "base64url")),
      ]);
      const data = authData(PRESENT | VERIFIED | ATTESTED, Buffer.concat([Buffer.alloc(16), Buffer.from([0, id.length]), id, key]));
      const attestation = Buffer.concat([
        Buffer.from([0xa3]),
        ...[text("fmt"), text("none"), text("attStmt"), Buffer.from([0xa0]), text("authData")],
        bytes(data),
      ]);
      const response = {
        clientDataJSON: b64(clientData("webauthn.create", challenge)),
        attestationObject: b64(attestation),
        transports: ["internal"],
      };
      return { ...credential, response };
    },
    /** What a browser makes of authentication options. */
    authenticate({ challenge }: { challenge: string }, { verified = true, from = origin }: { verified?: boolean; from?: string } = {}) {
      const data = authData(PRESENT | (verified ? VERIFIED : 0));
      const client = clientData("webauthn.get", challenge, from);
      const signature = sign("sha256", Buffer.concat([data, sha256(client)]), privateKey);
      return {
        ...credential,
        response: { clientDataJSON: b64(client), authenticatorData: b64(data), signature: b64(signature), userHandle: "" },
      };
    },
  };
}
