# The verbs. `make` alone lists them; .ci/run calls the same.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export GOFLAGS := -trimpath -buildvcs=false
GO ?= go
T ?= 30s
ROUNDS ?= 5
LINT := $(GO) tool -modfile=tools/go.mod golangci-lint


# How the servers and labs of the e2e tests run, beside as shipped.
E2E := $(GO) test -race -count=1 -timeout 1200s
RING := --engine-policy ring --loop ring
NETPOLL := --engine-policy ring --loop netpoll
# What e2e-brief runs, of which each stands for its kind: the conformance suite, reads and writes, locks, every dialect and
# protection with a tree, payloads by reference, kill -9 with a mount and with a share, faults, the table of one path.
# e2e-ring runs everything. OpenSymlinkRace is a minute of chance that the other pass has.
BRIEF := TestMountPosix/ring|TestMountServesReadsAndWrites/ring|TestMountLocks/ring|TestSmbclientEveryDialectAndProtection/ring
BRIEF := $(BRIEF)|TestReadPathIsWhatServed|TestMountKilledUnderLoad/ring|TestKillUnderLoad|TestFaultsNobodyNotices/ring|TestFaultsOfPayloads/ring|TestRaceOneCase

.PHONY: help build race check lint test e2e e2e-brief e2e-ring e2e-netpoll ci fuzz bench fresh conformance soak clean
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
	@echo "e2e variant: $${URINGFS_E2E_FLAGS:-as shipped}"
	$(E2E) ./e2e/...

e2e-brief: ## a part of e2e with the ring forced wherever it can be
	URINGFS_E2E_FLAGS='$(RING)' $(E2E) -run '$(BRIEF)' -skip 'TestMountPosix/ring/OpenSymlinkRace' ./e2e/...

e2e-ring: ## e2e with the ring forced wherever it can be
	URINGFS_E2E_FLAGS='$(RING)' $(E2E) ./e2e/...

e2e-netpoll: ## e2e with the ring forced, and waits by Go's netpoller
	URINGFS_E2E_FLAGS='$(NETPOLL)' $(E2E) ./e2e/...

ci: check lint test e2e e2e-brief ## everything .ci/run runs

fuzz: ## every fuzz target for T each (make fuzz T=30s)
	@for pkg in $$($(GO) list ./internal/... ./smbserver/... ./uringbackend/... ./fusefs/...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(T) -fuzzminimizetime 1x $$pkg; \
		done; done

bench: build ## paired benchmarks against peers (ROUNDS=5, GO_LIB=program for ring/vs-go-lib)
	bin/uringfs bench --rounds $(ROUNDS) $(if $(GO_LIB),--go-lib $(GO_LIB))

fresh: ## both README commands in a clean Debian root (mmdebstrap)
	tools/fresh

conformance: e2e e2e-ring e2e-netpoll ## every e2e variant, each with go-fuse posixtest on both engines, and that three times more
	$(GO) test -race -count=3 -timeout 1800s -run 'Posix' ./e2e/...

soak: ## the e2e suite again and again (COUNT=10)
	$(GO) test -race -count=$${COUNT:-10} -timeout 0 ./e2e/...

clean: ## remove what make built
	rm -rf bin dist
