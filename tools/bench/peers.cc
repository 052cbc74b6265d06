// SPDX-License-Identifier: Apache-2.0
#include "bench/peers.h"

namespace larder::bench {

std::vector<PeerKind> peers() {
  std::vector<PeerKind> all;
#ifdef LARDER_HAVE_LMDB
  all.push_back({"LMDB", open_lmdb});
#endif
#ifdef LARDER_HAVE_ROCKSDB
  all.push_back({"RocksDB", open_rocksdb});
#endif
  return all;
}

}  // namespace larder::bench
