// SPDX-License-Identifier: Apache-2.0
// The table of options as text: for --help, for docs/options.md and for the control file `options`.
#include <fmt/format.h>
#include <larder/options.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace larder {
namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kIndent = 2;

std::string usage(const OptionSpec& spec) {
  return spec.value.empty() ? std::string(spec.name) : fmt::format("{}={}", spec.name, spec.value);
}

// Breaks at blanks into lines of at most `width`; a longer word has a line of its own.
std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width)
      lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

std::string described(const OptionSpec& spec) {
  if (spec.value.empty()) return std::string(spec.description);
  return fmt::format("{} [{}]", spec.description, spec.fallback);
}

// A bar would end the cell.
std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace

std::string options_help() {
  std::size_t column = 0;
  for (const OptionSpec& spec : option_table()) column = std::max(column, usage(spec).size());
  column += kIndent + 2;

  std::string text;
  std::string_view group;
  for (const OptionSpec& spec : option_table()) {
    if (spec.group != group) {
      text += fmt::format("{}{}:\n", group.empty() ? "" : "\n", spec.group);
      group = spec.group;
    }
    std::string start = fmt::format("{:{}}{}", "", kIndent, usage(spec));
    for (const std::string& line : wrap(described(spec), kWidth - column)) {
      text += fmt::format("{:<{}}{}\n", start, column, line);
      start.clear();
    }
  }
  return text;
}

std::string options_markdown() {
  std::string text =
      "# Options\n"
      "\n"
      "What stands after `-o`, in `/etc/fstab` and in the control file `options`. This page is "
      "made\n"
      "from the table in `src/vfs/options_table.cc`; a test compares the two.\n"
      "\n"
      "Durations: `5`, `1.5`, `500ms`, `10m`, `1h`; a bare number is seconds. Sizes: `64M`, "
      "`10G`,\n"
      "`1T`, or bytes. A backslash keeps a comma: `store=/a\\,b`. Of two that say the same the "
      "last\n"
      "holds, and `rw` undoes `ro`. The generic words of mount(8) and fstab (`defaults`, "
      "`_netdev`,\n"
      "`nofail`, `noauto`, `user`, `noatime`, `x-...`, `comment=...` and their like) are accepted "
      "and\n"
      "mean nothing to larder.\n";
  std::string_view group;
  for (const OptionSpec& spec : option_table()) {
    if (spec.group != group) {
      text += fmt::format("\n## {}\n\n| option | default | meaning |\n|---|---|---|\n", spec.group);
      group = spec.group;
    }
    text += fmt::format("| `{}` | {} | {} |\n", cell(usage(spec)), cell(spec.fallback),
                        cell(spec.description));
  }
  return text;
}

std::string options_text(const MountOptions& options) {
  std::string text;
  for (const OptionSpec& spec : option_table()) {
    text += fmt::format("{}={}\n", spec.name, spec.get(options));
  }
  return text;
}

}  // namespace larder
