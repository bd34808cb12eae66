#!/bin/sh
# tools/tidy.sh [-e] DIR... - `go mod tidy` for modules of this repository that require the root module (or contrib/gin).
#
# Such a module says `require github.com/segue-go/segue v0.0.0`, which exists nowhere but in go.work, and `go mod tidy`
# does not read go.work (golang/go#50750). It gets the replacement from a copy of go.mod that lives for as long as this
# script does, so that no `replace` line is ever committed. -e goes on past a module that cannot be downloaded, as `go mod
# tidy -e` does: tidy asks for the tests of dependencies too, which nothing else needs.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
flags=
if [ "${1:-}" = -e ]; then
	flags=-e
	shift
fi
for dir in "$@"; do
	(
		cd "$dir"
		trap 'rm -f .tidy.mod .tidy.sum' EXIT
		cp go.mod .tidy.mod
		if [ -f go.sum ]; then cp go.sum .tidy.sum; fi
		export GOWORK=off GOFLAGS=-modfile=.tidy.mod
		go mod edit -require=github.com/segue-go/segue@v0.0.0 -replace=github.com/segue-go/segue="$root" \
			-replace=github.com/segue-go/segue/contrib/gin="$root/contrib/gin" .tidy.mod
		go mod tidy $flags
		go mod edit -dropreplace=github.com/segue-go/segue -dropreplace=github.com/segue-go/segue/contrib/gin .tidy.mod
		mv .tidy.mod go.mod
		mv .tidy.sum go.sum
	)
done
