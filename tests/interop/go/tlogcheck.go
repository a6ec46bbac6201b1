// Checks proofs, and reads a tile directory, with golang.org/x/mod/sumdb/tlog.
//
// Usage:
//
//	tlogcheck inclusion <size> <root> <index> <leaf> < path
//	tlogcheck consistency <old size> <old root> <size> <root> < path
//	tlogcheck tiles <directory> <size>
//
// Hashes are base64, a path has one a line. The first two exit 1 with the reason when the proof is
// refused. The last prints the root that the tiles give, and then for each entry the leaf hash in the
// tiles (checked against that root) and the hash of the entry in its bundle, separated by a space.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

// directory reads tiles of a log of `size` entries that lie under C2SP's paths.
type directory struct {
	root string
	size int64
}

func (d directory) Height() int                     { return height }
func (d directory) SaveTiles([]tlog.Tile, [][]byte) {}

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := d.read(tile)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// read maps tlog's path, tile/<height>/<level or data>/<index>, to tile/<level or entries>/<index>. The
// file that is there may be wider than what is asked for.
func (d directory) read(tile tlog.Tile) ([]byte, error) {
	wanted, level := tile.W, tile.L
	if level < 0 {
		level = 0
	}
	tile.W = int(d.size>>(height*level) - tile.N*width)
	if tile.W > width {
		tile.W = width
	}
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	path = strings.Replace(path, "data/", "entries/", 1)
	data, err := os.ReadFile(filepath.Join(d.root, "tile", filepath.FromSlash(path)))
	if err == nil && tile.L >= 0 {
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path, len(data))
		}
		data = data[:wanted*tlog.HashSize]
	}
	return data, err
}

// ReadHashes reads without checking, which is how a root is found that nobody told.
func (d directory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, index := range indexes {
		tile := tlog.TileForIndex(height, index)
		data, err := d.read(tile)
		if err != nil {
			return nil, err
		}
		hash, err := tlog.HashFromTile(tile, data, index)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func (d directory) entryHashes() ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for index := int64(0); index*width < d.size; index++ {
		data, err := d.read(tlog.Tile{H: height, L: -1, N: index, W: width})
		if err != nil {
			return nil, err
		}
		for len(data) > 0 {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("entry bundle %d is cut", index)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			hashes = append(hashes, tlog.RecordHash(data[2:end]))
			data = data[end:]
		}
	}
	if int64(len(hashes)) != d.size {
		return nil, fmt.Errorf("the bundles hold %d entries", len(hashes))
	}
	return hashes, nil
}

func tiles(d directory) error {
	root, err := tlog.TreeHash(d.size, d)
	if err != nil {
		return err
	}
	fmt.Println(root)
	var indexes []int64
	for entry := int64(0); entry < d.size; entry++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, entry))
	}
	leaves, err := tlog.TileHashReader(tlog.Tree{N: d.size, Hash: root}, d).ReadHashes(indexes)
	if err != nil {
		return err
	}
	// TileHashReader, as Debian packs it, leaves tiles unchecked when several hashes that it needs for
	// the root lie in one tile; so the tree is built again from the leaves that it answered.
	if rebuilt, err := rootOf(leaves); err != nil || rebuilt != root {
		return fmt.Errorf("the leaves in the tiles give the root %v, %v", rebuilt, err)
	}
	entries, err := d.entryHashes()
	if err != nil {
		return err
	}
	for at, leaf := range leaves {
		fmt.Println(leaf, entries[at])
	}
	return nil
}

// rootOf builds the tree over leaf hashes.
func rootOf(leaves []tlog.Hash) (tlog.Hash, error) {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, index := range indexes {
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	for at, leaf := range leaves {
		hashes, err := tlog.StoredHashesForRecordHash(int64(at), leaf, read)
		if err != nil {
			return tlog.Hash{}, err
		}
		stored = append(stored, hashes...)
	}
	return tlog.TreeHash(int64(len(leaves)), read)
}

func path() ([]tlog.Hash, error) {
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	var hashes []tlog.Hash
	for _, line := range strings.Fields(string(data)) {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}

func hash(text string) tlog.Hash {
	value, err := tlog.ParseHash(text)
	if err != nil {
		panic(err)
	}
	return value
}

func run(command string, args []string) error {
	if command == "tiles" {
		return tiles(directory{args[0], number(args[1])})
	}
	proof, err := path()
	if err != nil {
		return err
	}
	if command == "inclusion" {
		return tlog.CheckRecord(proof, number(args[0]), hash(args[1]), number(args[2]), hash(args[3]))
	}
	return tlog.CheckTree(proof, number(args[2]), hash(args[3]), number(args[0]), hash(args[1]))
}

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
