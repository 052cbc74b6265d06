// SPDX-License-Identifier: Apache-2.0
#include "cache/cache.h"

#include <utility>

#include "cache/tree.h"

namespace larder::cache {

Cache::Cache(std::shared_ptr<Tree> the_tree, std::string the_tag,
             std::unique_ptr<Backend> the_backend)
    : tree(*the_tree),
      tag(std::move(the_tag)),
      backend(std::move(the_backend)),
      keep_tree_(std::move(the_tree)) {}

}  // namespace larder::cache
