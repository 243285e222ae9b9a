#!/usr/bin/env bash
# Made the certificates beside it, once: a CA, a server that is valid for a hundred years, and one that ended long ago.
set -euo pipefail
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
key ca.key && key server.key
openssl req -x509 -new -key ca.key -subj "/CN=tillwatch test CA" -days 36500 -out ca.pem \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
issue() { # file, start, end
  openssl req -new -key server.key -subj "/CN=localhost" -out "$1.csr"
  : > index.txt && echo "$4" > serial
  openssl ca -batch -notext -config <(cat <<CA
[ca]
default_ca = own
[own]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
subjectAltName = DNS:localhost,IP:127.0.0.1
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CA
  ) -cert ca.pem -keyfile ca.key -in "$1.csr" -out "$1.pem" -startdate "$2" -enddate "$3"
  rm -f "$1.csr" index.txt* serial* "$4.pem"
}
issue server 20200101000000Z 21200101000000Z 01
issue expired 20200101000000Z 20210101000000Z 02
rm ca.key
