// SPDX-License-Identifier: Apache-2.0
// The map of a store: the file cut into equal cells, each shown as what most of it is used for.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "ctl/status.h"
#include "ctl/store_commands.h"

namespace larder::ctl {
namespace {

using store::Region;
using store::Use;

struct Look {
  Use use;
  char letter;
  const char* color;
};
constexpr auto kLooks = std::to_array<Look>({
    {Use::kSuperblock, 'S', "#1f2937"},
    {Use::kJournal, 'J', "#7c3aed"},
    {Use::kCheckpoint, 'C', "#2563eb"},
    {Use::kSums, 's', "#0891b2"},
    {Use::kFree, '.', "#e5e7eb"},
    {Use::kUsed, 'u', "#16a34a"},
    {Use::kHot, 'H', "#ea580c"},
    {Use::kQuarantined, 'Q', "#dc2626"},
});

const Look& look_of(Use use) { return kLooks[static_cast<std::size_t>(use)]; }

std::uint64_t end_of(const Region& region) { return region.at.value() + region.bytes.value(); }
std::uint64_t file_end(const std::vector<Region>& regions) {
  return regions.empty() ? 0 : end_of(regions.back());
}

// What most of each cell is used for, but that one quarantined block marks all of it: that is what
// one looks for.
std::vector<Use> cells_of(const std::vector<Region>& regions, std::size_t count) {
  std::vector<Use> cells(count, Use::kFree);
  const std::uint64_t end = file_end(regions);
  if (end == 0) return cells;
  std::size_t first = 0;
  for (std::size_t cell = 0; cell < count; ++cell) {
    const std::uint64_t from = end / count * cell;
    const std::uint64_t to = cell + 1 == count ? end : end / count * (cell + 1);
    std::array<std::uint64_t, kLooks.size()> bytes{};
    while (first < regions.size() && end_of(regions[first]) <= from) ++first;
    for (std::size_t i = first; i < regions.size() && regions[i].at.value() < to; ++i) {
      const std::uint64_t part =
          std::min(to, end_of(regions[i])) - std::max(from, regions[i].at.value());
      bytes[static_cast<std::size_t>(regions[i].use)] += part;
    }
    if (bytes[static_cast<std::size_t>(Use::kQuarantined)] != 0) {
      cells[cell] = Use::kQuarantined;
      continue;
    }
    cells[cell] = kLooks[static_cast<std::size_t>(std::max_element(bytes.begin(), bytes.end()) -
                                                  bytes.begin())]
                      .use;
  }
  return cells;
}

struct Sum {
  const Look* look;
  std::uint64_t bytes;
};
std::vector<Sum> sums_of(const std::vector<Region>& regions) {
  std::vector<Sum> sums;
  for (const Look& look : kLooks) {
    std::uint64_t bytes = 0;
    for (const Region& region : regions) bytes += region.use == look.use ? region.bytes.value() : 0;
    if (bytes != 0) sums.push_back({&look, bytes});
  }
  return sums;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string map_text(const std::vector<Region>& regions, std::size_t columns, std::size_t rows) {
  std::string text;
  const auto cells = cells_of(regions, columns * rows);
  const std::uint64_t cell_bytes = file_end(regions) / (columns * rows);
  for (std::size_t row = 0; row < rows; ++row) {
    text += fmt::format("{:>10} ", bytes_text(cell_bytes * columns * row));
    for (std::size_t column = 0; column < columns; ++column)
      text += look_of(cells[row * columns + column]).letter;
    text += '\n';
  }
  text += fmt::format("\none letter is {}\n", bytes_text(cell_bytes));
  for (const Sum& sum : sums_of(regions)) {
    text += fmt::format("{}  {:<12} {}\n", sum.look->letter, to_text(sum.look->use),
                        bytes_text(sum.bytes));
  }
  return text;
}

std::string map_svg(const std::vector<Region>& regions, const std::string& title) {
  constexpr std::size_t kColumns = 128, kRows = 64, kCell = 8, kTop = 40, kLegend = 24;
  const auto sums = sums_of(regions);
  const std::size_t width = kColumns * kCell, height = kTop + kRows * kCell + 2 * kLegend;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\" font-size=\"13\">\n<title>{2}</title>\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n<text x=\"8\" y=\"24\">{2}, "
      "{3}</text>\n",
      width, height, escaped(title), bytes_text(file_end(regions)));
  const auto cells = cells_of(regions, kColumns * kRows);
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t column = 0; column < kColumns;) {
      const Use use = cells[row * kColumns + column];
      std::size_t run = 1;
      while (column + run < kColumns && cells[row * kColumns + column + run] == use) ++run;
      svg +=
          fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n",
                      column * kCell, kTop + row * kCell, run * kCell, kCell, look_of(use).color);
      column += run;
    }
  }
  std::size_t x = 8;
  const std::size_t y = kTop + kRows * kCell + kLegend;
  for (const Sum& sum : sums) {
    const std::string words = fmt::format("{} {}", to_text(sum.look->use), bytes_text(sum.bytes));
    svg += fmt::format(
        "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{}\"/>"
        "<text x=\"{}\" y=\"{}\">{}</text>\n",
        x, y - 11, sum.look->color, x + 17, y, words);
    x += 30 + words.size() * 7;
  }
  return svg + "</svg>\n";
}

}  // namespace larder::ctl
