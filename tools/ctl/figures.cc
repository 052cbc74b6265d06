// SPDX-License-Identifier: Apache-2.0
#include "ctl/figures.h"

namespace larder::ctl {
namespace {

using Json = nlohmann::json;

const Json* member(const Json& in, std::string_view name) {
  if (!in.is_object()) return nullptr;
  const auto found = in.find(name);
  return found == in.end() ? nullptr : &*found;
}

// A bare number, or an object that says its unit beside its value.
std::optional<std::uint64_t> number(const Json* value) {
  if (value != nullptr && value->is_object()) value = member(*value, "value");
  if (value == nullptr || !value->is_number()) return std::nullopt;
  if (value->is_number_unsigned()) return value->get<std::uint64_t>();
  const double real = value->get<double>();
  return real > 0 && real < 1.8e19 ? static_cast<std::uint64_t>(real) : 0;
}

}  // namespace

SetUp<Figures> Figures::parse(const std::string& text) {
  Json all = Json::parse(text, nullptr, false);
  if (!all.is_object())
    return complain(ErrorCode::kInvalid, "stats.json of the mount cannot be read as JSON");
  return Figures(std::move(all));
}

std::optional<std::uint64_t> Figures::find(std::string_view counter) const {
  return number(member(all_, counter));
}

std::optional<std::uint64_t> Figures::percentile(std::string_view histogram,
                                                 std::string_view mark) const {
  const Json* one = member(all_, histogram);
  if (one == nullptr || number(member(*one, "count")).value_or(0) == 0) return std::nullopt;
  return number(member(*one, mark));
}

std::string Figures::text(std::string_view group, std::string_view name) const {
  const Json* in = group.empty() ? &all_ : member(all_, group);
  const Json* value = in == nullptr ? nullptr : member(*in, name);
  if (value == nullptr || value->is_null()) return "";
  return value->is_string() ? value->get<std::string>()
                            : value->dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace larder::ctl
