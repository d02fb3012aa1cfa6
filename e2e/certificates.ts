import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

/** A certificate with its key, in PEM; `signs` makes others that it answers for. */
export interface Certificate {
  cert: string;
  key: string;
  /** Makes a certificate of a server. @param names as X.509 has them in subjectAltName: DNS names, or IPv4 addresses */
  signs(names: readonly string[], valid?: Validity): Certificate;
}
interface Validity {
  from?: Date;
  until?: Date;
  /** The side of TLS that the certificate is for: servers, unless it says clients. */
  purpose?: "client";
}

// The tags of ASN.1 that a certificate needs (ITU-T X.690).
const [BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID, UTF8, GENERALIZED_TIME, SEQUENCE, SET] = [
  0x01, 0x02, 0x03, 0x04, 0x06, 0x0c, 0x18, 0x30, 0x31,
] as const;

/** A value in DER. */
function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const size = content.length;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}
const hex = (digits: string) => Buffer.from(digits, "hex");
const name = (text: string) => der(SEQUENCE, der(SET, der(SEQUENCE, der(OID, hex("550403")), der(UTF8, Buffer.from(text)))));
const time = (at: Date) => der(GENERALIZED_TIME, Buffer.from(`${at.toISOString().replace(/\D/g, "").slice(0, 14)}Z`));
const ECDSA_WITH_SHA256 = der(SEQUENCE, der(OID, hex("2a8648ce3d040302")));
const extension = (oid: string, value: Buffer, critical = false) =>
  der(SEQUENCE, der(OID, hex(oid)), ...(critical ? [der(BOOLEAN, hex("ff"))] : []), der(OCTET_STRING, value));

const isAddress = (text: string) => /^[\d.]+$/.test(text);
const alternative = (text: string) =>
  isAddress(text) ? der(0x87, Buffer.from(text.split(".").map(Number))) : der(0x82, Buffer.from(text));

/** Makes a certificate that answers for itself (RFC 5280): an authority where no name is given. */
export const selfSigned = (...names: string[]): Certificate => make(names, {}, undefined);

function make(
  names: readonly string[],
  { from, until, purpose }: Validity,
  issuer: { of: string; key: KeyObject } | undefined,
): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const subject = names[0] ?? `An authority that only tests know (${randomBytes(4).toString("hex")})`;
  const signer = issuer ?? { of: subject, key: privateKey };
  const day = 24 * 3600 * 1000;
  const extensions = [
    ...(names.length > 0 ? [extension("551d11", der(SEQUENCE, ...names.map(alternative)))] : []),
    ...(purpose === "client" ? [extension("551d25", der(SEQUENCE, der(OID, hex("2b06010505070302"))))] : []),
    ...(names.length > 0 ? [] : [extension("551d13", der(SEQUENCE, der(BOOLEAN, hex("ff"))), true)]),
  ];
  const told = der(
    SEQUENCE,
    der(0xa0, der(INTEGER, hex("02"))), // version 3
    der(INTEGER, Buffer.concat([hex("01"), randomBytes(8)])),
    ECDSA_WITH_SHA256,
    name(signer.of),
    der(SEQUENCE, time(from ?? new Date(Date.now() - day)), time(until ?? new Date(Date.now() + day))),
    name(subject),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(SEQUENCE, ...extensions)),
  );
  const signature = sign("sha256", told, signer.key);
  const body = der(SEQUENCE, told, ECDSA_WITH_SHA256, der(BIT_STRING, hex("00"), signature)).toString("base64");
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${body.replace(/.{64}/g, "$&\n").trimEnd()}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    signs: (of, valid = {}) => make(of, valid, { of: subject, key: privateKey }),
  };
}
