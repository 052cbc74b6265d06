// SPDX-License-Identifier: Apache-2.0
// `objects`: one line per object, in the kernel's layout: the short state names of 2.6.32 (and
// INVL), the columns of later kernels (two digits of FL), NETFS_DATA the number that the netfs
// shows (an inode number).
//
// Ordered by id, and read in batches: the tree's mutex is held for a batch at most, so a listing of
// a million objects stops nobody. An object that comes or goes meanwhile is shown or not; none is
// shown twice.
#include <fmt/format.h>

#include <iterator>
#include <string_view>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

constexpr std::size_t kBatch = 128;

// A pair of letters chooses one of two kinds; neither or both: all.
struct Pair {
  bool first = false;
  bool second = false;
  bool takes(bool is_first) const { return first == second || (is_first ? first : second); }
};

struct Filter {
  bool key = false, aux = false;
  Pair cookie, busy, writing, reading, queued;
};

struct PairLetters {
  char first, second;
  Pair Filter::*pair;
};
constexpr PairLetters kPairs[] = {{'C', 'c', &Filter::cookie},
                                  {'B', 'b', &Filter::busy},
                                  {'W', 'w', &Filter::writing},
                                  {'R', 'r', &Filter::reading},
                                  {'S', 's', &Filter::queued}};

// What is unknown is passed over, as in the kernel.
Filter parse(std::string_view letters) {
  Filter filter;
  if (letters.empty()) filter.key = filter.aux = true;
  for (const char letter : letters) {
    filter.key |= letter == 'K';
    filter.aux |= letter == 'A';
    for (const PairLetters& letters_of : kPairs) {
      Pair& pair = filter.*letters_of.pair;
      pair.first |= letter == letters_of.first;
      pair.second |= letter == letters_of.second;
    }
  }
  return filter;
}

bool takes(const Filter& filter, const Object::Figures& f) {
  const bool busy = f.state != State::kActive || f.n_ops > 0 || f.n_fills > 0 || f.has_dependents;
  return filter.cookie.takes(f.has_cookie) && filter.busy.takes(busy) &&
         filter.writing.takes(f.n_fills > 0) && filter.reading.takes(f.n_reads > 0) &&
         filter.queued.takes(f.work_state != 0);
}

std::string header(const Filter& filter) {
  std::string text =
      "OBJECT   PARENT   STAT CHLDN OPS OOP IPR EX READS EM EV FL S | "
      "NETFS_COOKIE_DEF TY FL NETFS_DATA";
  std::string rule =
      "======== ======== ==== ===== === === === == ===== == == == = | "
      "================ == == ================";
  if (filter.key || filter.aux) {
    text += "       ";
    if (filter.key) text += "OBJECT_KEY";
    if (filter.key && filter.aux) text += ", ";
    if (filter.aux) text += "AUX_DATA";
    rule += " ================";
  }
  return text + "\n" + rule + "\n";
}

void append_hex(std::string& text, std::string_view bytes) {
  for (const char c : bytes) {
    fmt::format_to(std::back_inserter(text), "{:02x}", static_cast<unsigned char>(c));
  }
}

void append_cookie(std::string& text, const Filter& filter, Cookie& cookie,
                   const std::string& key) {
  const ObjectType type = cookie.definition.type;
  std::string kind = fmt::format("{:02}", static_cast<unsigned>(type));
  if (type == ObjectType::kIndex) kind = "IX";
  if (type == ObjectType::kData) kind = "DT";
  const std::string shown = cookie.shown_as == 0 ? "(null)" : fmt::to_string(cookie.shown_as);
  fmt::format_to(std::back_inserter(text), "{:<16} {} {:2x} {:>16}", cookie.definition.name, kind,
                 cookie.flags.load() & kShownCookieFlags, shown);
  const std::string aux = filter.aux ? cookie.version_now().aux : std::string();
  const bool has_key = filter.key && !key.empty();
  if (!has_key && aux.empty()) return;
  text += ' ';
  if (has_key) append_hex(text, key);
  if (filter.key && !aux.empty()) text += ", ";
  append_hex(text, aux);
}

void append_row(std::string& text, const Filter& filter, Object& object, const Object::Figures& f) {
  fmt::format_to(std::back_inserter(text),
                 "{:8x} {:8x} {} {:5} {:3} {:3} {:3} {:2} {:5} {:2x} {:2x} {:2x} {:1x} | ", f.id,
                 f.parent_id, table_of(f.state).short_name, f.n_children, f.n_ops, f.n_obj_ops,
                 f.n_in_progress, f.n_exclusive, f.n_reads, f.mask, f.events, f.flags,
                 f.work_state);
  if (f.has_cookie) {
    append_cookie(text, filter, object.cookie(), f.key);
  } else {
    text += "<no_cookie>";
  }
  text += '\n';
}

// Appends the rows of the next batch; `last_id` is the last that was looked at. False: no more.
bool append_batch(Tree& tree, const Filter& filter, std::uint32_t& last_id, std::string& text) {
  std::vector<std::pair<ObjectPtr, Object::Figures>> batch;
  bool more = false;
  {
    MutexLock lock(tree.mutex);
    auto at = tree.objects.upper_bound(last_id);
    for (; at != tree.objects.end() && batch.size() < kBatch; ++at) {
      batch.emplace_back(at->second, at->second->figures_locked());
      last_id = at->first;
    }
    more = at != tree.objects.end();
  }
  for (const auto& [object, f] : batch) {
    if (takes(filter, f)) append_row(text, filter, *object, f);
  }
  return more;
}

}  // namespace

Pager FsCache::objects(std::string_view filter) const {
  return [tree = impl_->tree, filter = parse(filter),
          last_id = std::uint32_t{0}](std::string& text) mutable {
    if (last_id == 0) text += header(filter);
    return append_batch(*tree, filter, last_id, text);
  };
}

}  // namespace larder::cache
