# Everything needs nothing but Go and make. `make help` lists the targets.

GO ?= go
BIN := bin
MODULES := . $(patsubst %/go.mod,%,$(wildcard contrib/*/go.mod examples/*/go.mod bench/go.mod))

.PHONY: help build demo test soak bench bench-move bench-supervise man fmt vet tidy clean modules

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## build the command and the example shop into bin/
	@mkdir -p $(BIN)
	$(GO) build -o $(BIN)/segue ./cmd/segue
	cd examples/shop && $(GO) build -o ../../$(BIN)/shop .

demo: build ## upgrade a shop five times under load; fails if a client noticed
	@$(GO) run ./internal/demo $(BIN)/segue $(BIN)/shop

test: ## test every module, with -race
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && $(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v /internal/e2e)); done
	@echo "== internal/e2e"; $(GO) test -race -timeout 20m ./internal/e2e # alone: it looks at who was in flight when

soak: ## the long tests: 100 restarts under every kind of traffic, takeovers, the model of the supervisor (about 40 minutes)
	SEGUE_SOAK=1 $(GO) test -race -count=1 -timeout 90m -v -run "ZeroLoss|TestUpgradeInPlace|TestSupervisorKilled" ./internal/e2e
	cd contrib/grpc && SEGUE_SOAK=1 $(GO) test -race -count=1 -timeout 30m -v .
	cd examples/live && SEGUE_SOAK=1 $(GO) test -race -count=1 -timeout 60m -v -run TestLiveConnectionsStay .
	SEGUE_SOAK=1 $(GO) test -race -count=1 -timeout 90m -v -run "TestModel|RestartsLeakNothing" ./internal/supervise

bench: ## benchmarks against their targets; writes bench/RESULTS.md
	$(GO) run ./bench/cmd/bench

bench-move: ## 9500 live connections over 100 restarts against the record; writes bench/MOVE.md; about 15 minutes
	$(GO) run ./bench/cmd/move -out bench/MOVE.md

bench-supervise: ## a crash beside supervisord and systemd, and the supervisor at rest; writes bench/SUPERVISE.md; about twelve minutes
	$(GO) run ./bench/cmd/supervise -out bench/SUPERVISE.md

man: ## write docs/man, docs/openapi.json and the diagram of the states anew, from the code
	$(GO) test ./internal/cli -run TestManPages -update
	$(GO) test ./internal/control -run TestOpenAPI -update
	$(GO) test ./internal/supervise -run TestDiagram -update

fmt: ## format everything
	gofmt -w $$(git ls-files '*.go')

vet: ## vet every module, and what other systems build
	@set -e; for m in $(MODULES); do (cd $$m && $(GO) vet ./...); done
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...

tidy: ## go mod tidy for every module
	$(GO) mod tidy
	tools/tidy.sh -e $(filter-out .,$(MODULES))

modules:
	@echo $(MODULES)

clean: ## remove what was built
	rm -rf $(BIN)
