// Opens a signed note with golang.org/x/mod/sumdb/note and says whose signatures fit.
//
// Usage: notecheck <verifier key>... < note
//
// Keys of type 4 are those of witnesses: C2SP cosignature/v1, which the package does not know by itself.
// Prints the name of each key whose signature was checked, one a line; exits 1 with the reason when the
// note is refused.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	typeCosignature = 4
	timeBytes       = 8
)

// witness checks cosignatures of one key.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.hash }

func (w witness) Verify(text, signature []byte) bool {
	if len(signature) != timeBytes+ed25519.SignatureSize {
		return false
	}
	seconds := binary.BigEndian.Uint64(signature)
	if seconds > 1<<63-1 {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", seconds, text)
	return ed25519.Verify(w.key, []byte(signed), signature[timeBytes:])
}

func verifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q is no verifier key", vkey)
	}
	material, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	if len(material) == 0 || material[0] != typeCosignature {
		return note.NewVerifier(vkey)
	}
	id := sha256.Sum256(append([]byte(parts[0]+"\n"), material...))
	hash := binary.BigEndian.Uint32(id[:])
	told, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil || uint32(told) != hash || len(material) != 1+ed25519.PublicKeySize {
		return nil, fmt.Errorf("%q: the id is not that of the key", vkey)
	}
	return witness{parts[0], hash, ed25519.PublicKey(material[1:])}, nil
}

func run() error {
	var known []note.Verifier
	for _, vkey := range os.Args[1:] {
		key, err := verifier(vkey)
		if err != nil {
			return err
		}
		known = append(known, key)
	}
	signed, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	opened, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return err
	}
	for _, signature := range opened.Sigs {
		fmt.Println(signature.Name)
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
