// SPDX-License-Identifier: Apache-2.0
// The parts of `larder-bench store`, each with its rows and marks.
#pragma once

#include <cstdint>
#include <string>

#include "bench/rows.h"

namespace larder::bench {

SetUp<Outcome> measure_store_reads(const Plan& plan);
SetUp<Outcome> measure_store_fills(const Plan& plan);
SetUp<Outcome> measure_store_peers(const Plan& plan);  // LMDB and RocksDB, where they are built in
SetUp<Outcome> measure_store_index(const Plan& plan);  // memory and time of a large index
SetUp<Outcome> measure_store_commits(const Plan& plan);   // requests that share a commit
SetUp<Outcome> measure_store_eviction(const Plan& plan);  // hit ratios, and the size of the file

// A process of its own that opens a large store, for measure_store_index().
struct ProbeOptions {
  std::string store, what;  // fill, read, kill
  std::uint64_t objects = 0, memory_mib = 0, from = 0;
};
int store_probe(const ProbeOptions& options);  // the exit code

}  // namespace larder::bench
