# The verbs. `make` alone lists them; .ci/run calls the same.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export GOFLAGS := -trimpath -buildvcs=false
GO ?= go
T ?= 30s
ROUNDS ?= 5
LINT := $(GO) tool -modfile=tools/go.mod golangci-lint

.PHONY: help build race check lint test e2e ci fuzz bench fresh conformance soak clean
help: ## list the verbs
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## static bin/uringfs
	CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o bin/uringfs ./cmd/uringfs

race: build ## the main job: the page-cache race, end to end, with its table
	bin/uringfs race

check: ## vet and the house rules (tidy, gofmt among them); no root needed
	$(GO) vet ./...
	$(GO) test -count=1 .
	CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/uringfs

lint: ## golangci-lint with .golangci.yml, pinned in tools/go.mod
	$(LINT) run ./...

test: ## unit tests under the race detector (those of the tree itself are in check)
	$(GO) test -race -shuffle=on -timeout 480s ./cmd/... ./fusefs/... ./internal/... ./smbserver/... ./uringbackend/...

e2e: ## real mounts, real clients, the race table; needs root for most, says what the machine lacks
	$(GO) test -race -count=1 -timeout 900s ./e2e/...

ci: check lint test e2e ## everything .ci/run runs

fuzz: ## every fuzz target for T each (make fuzz T=30s)
	@for pkg in $$($(GO) list ./internal/... ./smbserver/... ./uringbackend/... ./fusefs/...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(T) -fuzzminimizetime 1x $$pkg; \
		done; done

bench: build ## paired benchmarks against peers (ROUNDS=5, GO_LIB=program for ring/vs-go-lib)
	bin/uringfs bench --rounds $(ROUNDS) $(if $(GO_LIB),--go-lib $(GO_LIB))

fresh: ## both README commands in a clean Debian root (mmdebstrap)
	tools/fresh

conformance: ## what is measured against conformance suites so far: go-fuse posixtest on both engines
	$(GO) test -race -count=3 -timeout 1800s -run 'Posix' ./e2e/...

soak: ## the e2e suite again and again (COUNT=10)
	$(GO) test -race -count=$${COUNT:-10} -timeout 0 ./e2e/...

clean: ## remove what make built
	rm -rf bin dist
