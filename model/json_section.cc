#include "model/json_section.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/excerpt.h"

namespace vitower {
namespace {

using nlohmann::json;

// Short lists are shown; a deep value would take dump() a stack as deep, a long one a message as long.
std::string Shown(const json& value) {
  constexpr size_t kMaxShown = 8;
  const bool flat = value.is_array() && value.size() <= kMaxShown &&
                    std::all_of(value.begin(), value.end(), [](const json& one) { return one.is_primitive(); });
  if (value.is_structured() && !flat) return absl::StrCat("an ", value.type_name());
  return Excerpt(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace

JsonSection::JsonSection(std::string prefix, const json& object) : prefix_(std::move(prefix)), object_(object) {}

const json* JsonSection::Find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool JsonSection::IsNull(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

JsonSection JsonSection::Inner(const char* key) const { return {absl::StrCat(prefix_, key, "."), *Find(key)}; }

void JsonSection::Adopt(const JsonSection& other) { status_.Update(other.status_); }

void JsonSection::Fail(const char* key, const std::string& what) {
  status_.Update(absl::FailedPreconditionError(absl::StrCat(prefix_, key, ": ", what)));
}

void JsonSection::FailValue(const char* key, const std::string& expected) {
  Fail(key, absl::StrCat("is ", Shown(*Find(key)), ", expected ", expected));
}

bool JsonSection::Number(const char* key, double& out) {
  const json* value = Find(key);
  if (value == nullptr) return false;
  if (!value->is_number()) FailValue(key, "a number");
  if (value->is_number()) out = value->get<double>();
  return true;
}

bool JsonSection::Integer(const char* key, int64_t& out) {
  double number = 0;
  if (!Number(key, number) || !status_.ok()) return Find(key) != nullptr;
  if (number != std::floor(number) || std::abs(number) > 1e15) FailValue(key, "an integer");
  out = std::abs(number) > 1e15 ? 0 : static_cast<int64_t>(number);
  return true;
}

void JsonSection::RequireInteger(const char* key, int64_t& out) {
  if (!Integer(key, out)) Fail(key, "missing");
}

void JsonSection::RequireEqual(const char* key, int64_t expected, const char* what) {
  int64_t value = 0;
  if (!Integer(key, value)) Fail(key, "missing");
  if (value != expected) Fail(key, absl::StrCat("is ", value, ", the tower's ", what, " is ", expected));
}

void JsonSection::RequireTriple(const char* key, double least, double most, float (&out)[3]) {
  const json* value = Find(key);
  if (value == nullptr) return Fail(key, "missing");
  const std::string expected = absl::StrCat("three numbers from ", least, " to ", most);
  if (!value->is_array() || value->size() != 3) return FailValue(key, expected);
  for (size_t i = 0; i < 3; ++i) {
    const json& one = (*value)[i];
    const double number = one.is_number() ? one.get<double>() : std::nan("");
    if (!(number >= least && number <= most)) return FailValue(key, expected);
    out[i] = static_cast<float>(number);
  }
}

void JsonSection::ExpectIfPresent(const char* key, const json& expected) {
  if (const json* value = Find(key); value != nullptr && *value != expected) FailValue(key, expected.dump());
}

}  // namespace vitower
