// SPDX-License-Identifier: Apache-2.0
// `stats` in the layout of Linux 4.19, and the same counters by name.
//
// The lines, their order and their names are the kernel's. A figure that means something here is
// live, also those that the kernel declared and never counted (Relinqs wcr, Allocs wt, CacheEv stl
// and rtr). What has no counterpart stays 0: no memory to be out of (oom), no reservation that
// waits behind others or is aborted (it holds its object for no time), no page that vanishes while
// its lock is fetched (VmScan gon), and no release that waits (VmScan wt).
#include "cache/stats.h"

#include <fmt/format.h>

#include <string_view>

#include "cache/operation.h"

namespace larder::cache {

std::uint64_t Counters::sum(stats::Counter KindCounters::*member) const {
  std::uint64_t n = 0;
  for (const KindCounters& kind : kinds) n += (kind.*member).value();
  return n;
}

void Counters::register_in(stats::Registry& registry) {
#define X(member, unit, text) registry.add("cache." #member, stats::Unit::unit, text, member);
  LARDER_CACHE_COUNTERS(X)
#undef X
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const std::string_view name = to_text(static_cast<OperationKind>(i));
    const auto add = [&](std::string_view what, std::string_view text,
                         const stats::Counter& counter) {
      registry.add(fmt::format("cache.{}_{}", name, what), stats::Unit::kCount,
                   fmt::format("{} operations {}", name, text), counter);
    };
    add("submitted", "submitted", kinds[i].submitted);
    add("refused", "refused because nothing can be cached there", kinds[i].refused);
    add("waited_look_up", "that waited for the look-up", kinds[i].waited_look_up);
    add("waited_behind", "that waited behind others", kinds[i].waited_behind);
    add("started", "given the go", kinds[i].started);
    add("no_data", "on an object that has no data yet", kinds[i].no_data);
    add("taken_back", "taken back by their owners", kinds[i].taken_back);
    add("cancelled", "cancelled because the object died or was invalidated", kinds[i].cancelled);
  }
}

// What is left of `all`. They are counted side by side, so that one may be read a moment too late.
static constexpr std::uint64_t without(std::uint64_t all, std::uint64_t some) {
  return all > some ? all - some : 0;
}

std::string stats_text(const Counters& c, Backend::Pages pages) {
  std::string text = "FS-Cache statistics\n";
  const auto line = [&text](fmt::string_view format, auto... values) {
    fmt::vformat_to(std::back_inserter(text), format, fmt::make_format_args(values...));
    text += '\n';
  };
  const auto n = [](const stats::Counter& counter) { return counter.value(); };
  const KindCounters& read = c.of(OperationKind::kRead);
  const KindCounters& fill = c.of(OperationKind::kFill);
  const KindCounters& changed = c.of(OperationKind::kAttrChanged);
  const KindCounters& truncate = c.of(OperationKind::kTruncate);
  const auto both = [&](stats::Counter KindCounters::*member) {
    return n(changed.*member) + n(truncate.*member);
  };
  const auto accepted = [&n](const KindCounters& kind) {
    return without(n(kind.submitted), n(kind.refused));
  };
  const auto waited = [&](stats::Counter KindCounters::*a, stats::Counter KindCounters::*b) {
    return c.sum(a) + c.sum(b);
  };
  const auto lost = [&n](const KindCounters& kind) { return n(kind.cancelled); };
  const std::uint64_t cancelled = waited(&KindCounters::cancelled, &KindCounters::taken_back);

  line("Cookies: idx={} dat={} spc={}", n(c.cookies_index), n(c.cookies_data),
       n(c.cookies_special));
  line("Objects: alc={} nal={} avl={} ded={}", n(c.objects_allocated), n(c.objects_refused),
       n(c.objects_available), n(c.objects_dead));
  line("ChkAux : non={} ok={} upd={} obs={}", n(c.check_none), n(c.check_okay), n(c.check_update),
       n(c.check_obsolete));
  line("Pages  : mrk={} unc={}", pages.filled, pages.dropped);
  line("Acquire: n={} nul={} noc={} ok={} nbf={} oom=0", n(c.acquires), n(c.acquires_null),
       n(c.acquires_no_cache), n(c.acquires_ok), n(c.acquires_no_object));
  line("Lookups: n={} neg={} pos={} crt={} tmo={}", n(c.lookups), n(c.lookups_negative),
       n(c.lookups_positive), n(c.lookups_created), n(c.lookups_waited));
  line("Invals : n={} run={}", n(c.invalidates), n(c.invalidates_run));
  line("Updates: n={} nul={} run={}", n(c.updates), n(c.updates_null), n(c.updates_run));
  line("Relinqs: n={} nul={} wcr={} rtr={}", n(c.relinquishes), n(c.relinquishes_null),
       n(c.relinquishes_waited), n(c.relinquishes_retired));
  line("AttrChg: n={} ok={} nbf={} oom=0 run={}", both(&KindCounters::submitted),
       accepted(changed) + accepted(truncate), both(&KindCounters::refused),
       both(&KindCounters::started));
  const std::uint64_t reserved =
      without(n(c.allocs), n(c.allocs_refused) + n(c.allocs_waiting));  // those were not taken
  line("Allocs : n={} ok={} wt={} nbf={} int=0", n(c.allocs), reserved, n(c.allocs_waiting),
       n(c.allocs_refused));
  line("Allocs : ops={} owt=0 abt=0", reserved);
  line("Retrvls: n={} ok={} wt={} nod={} nbf={} int={} oom=0", n(read.submitted),
       without(n(read.started), n(read.no_data)), n(read.waited_look_up), n(read.no_data),
       n(read.refused), n(read.taken_back));
  line("Retrvls: ops={} owt={} abt={}", accepted(read), n(read.waited_behind), lost(read));
  line("Stores : n={} ok={} agn={} nbf={} oom=0", n(fill.submitted), accepted(fill),
       n(c.stores_again), n(fill.refused));
  line("Stores : ops={} run={} pgs={} rxd={} olm={}", accepted(fill), n(fill.started), pages.filled,
       pages.filled, n(c.stores_beyond));
  line("VmScan : nos={} gon=0 bsy={} can={} wt=0", n(c.releases_clear), n(c.releases_busy),
       n(c.releases_cancelled));
  line("Ops    : pend={} run={} enq={} can={} rej={}",
       waited(&KindCounters::waited_look_up, &KindCounters::waited_behind),
       c.sum(&KindCounters::started), n(c.ops_posted), cancelled, c.sum(&KindCounters::refused));
  line("Ops    : ini={} dfr=0 rel={} gc=0", c.sum(&KindCounters::submitted),
       n(c.ops_completed) + cancelled + c.sum(&KindCounters::refused));
  line("CacheOp: alo=0 luo={} luc=0 gro=0", n(c.now_looking_up));
  line("CacheOp: inv={} upo={} dro={} pto=0 atc=0 syn=0", n(c.now_invalidating), n(c.now_updating),
       n(c.now_dropping));
  line("CacheOp: rap=0 ras=0 alp=0 als=0 wrp=0 ucp=0 dsp=0");
  line("CacheEv: nsp={} stl={} rtr={} cul={}", n(c.events_no_space), n(c.events_stale),
       n(c.events_retired), n(c.events_culled));
  return text;
}

}  // namespace larder::cache
