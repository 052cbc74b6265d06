// SPDX-License-Identifier: Apache-2.0
// The fuzzer without libFuzzer: the kept corpus, then so many inputs made of it, always the same
// for one seed. For every build of the check; tools/fuzz has the real one, which looks where it
// gets.
//
// usage: store-fuzz-seeds CORPUS RUNS      LARDER_SEED chooses other inputs
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/random.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;
constexpr std::size_t kLongest = 4096;

std::vector<Input> kept(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<Input> inputs;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

std::uint8_t any_byte(larder::Random& random) {
  // Bounds are where mistakes are.
  constexpr std::uint8_t kEdges[] = {0, 1, 0x7f, 0x80, 0xff};
  if (random.one_in(3)) return kEdges[random.below(std::size(kEdges))];
  return static_cast<std::uint8_t>(random.below(256));
}

void change(Input& input, const std::vector<Input>& all, larder::Random& random) {
  const std::size_t at = input.empty() ? 0 : random.below(input.size());
  const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
  switch (random.below(6)) {
    case 0:
      if (!input.empty()) *place = any_byte(random);
      break;
    case 1:
      if (!input.empty()) *place ^= static_cast<std::uint8_t>(1u << random.below(8));
      break;
    case 2:
      input.insert(place, any_byte(random));
      break;
    case 3:
      if (!input.empty()) input.erase(place);
      break;
    case 4: {  // a piece of itself again
      const std::size_t count = std::min<std::size_t>(1 + random.below(64), input.size() - at);
      const Input piece(place, place + static_cast<std::ptrdiff_t>(count));
      input.insert(input.end(), piece.begin(), piece.end());
      break;
    }
    default: {  // and of another
      const Input& other = all[random.below(all.size())];
      if (other.size() < 2) break;
      input.insert(input.end(), other.begin() + 1, other.end());
      break;
    }
  }
  if (input.size() > kLongest) input.resize(kLongest);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: store-fuzz-seeds CORPUS RUNS\n");
    return 2;
  }
  const std::vector<Input> all = kept(argv[1]);
  if (all.empty()) {
    std::fprintf(stderr, "%s: there is no corpus\n", argv[1]);
    return 1;
  }
  for (const Input& input : all) LLVMFuzzerTestOneInput(input.data(), input.size());
  const char* seed = std::getenv("LARDER_SEED");
  larder::Random random(larder::Seed{seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10)});
  const bool is_long = std::getenv("LARDER_LONG") != nullptr;
  const std::uint64_t runs = std::strtoull(argv[2], nullptr, 10) * (is_long ? 100 : 1);
  for (std::uint64_t i = 0; i < runs; ++i) {
    Input input = all[random.below(all.size())];
    for (std::uint64_t changes = 1 + random.below(8); changes > 0; --changes)
      change(input, all, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu kept inputs, %llu made of them\n", all.size(),
              static_cast<unsigned long long>(runs));
  return 0;
}
