#include "model/json_file.h"

#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/bad_file.h"
#include "model/excerpt.h"

namespace vitower {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMaxJsonBytes = 64 << 20;

// Watches an object being parsed for a key that comes twice inside one of its members.
class KeysSeen final {
 public:
  explicit KeysSeen(std::string_view member) : member_(member) {}

  bool operator()(int depth, json::parse_event_t event, const json& value) {
    if (event != json::parse_event_t::key || depth > 2) return true;
    const auto& key = value.get_ref<const std::string&>();
    if (depth == 1) {
      inside_ = !member_.empty() && key == member_;
      if (inside_) Count(key);
    } else if (inside_) {
      Count(absl::StrCat(std::string(member_), ".", key));
    }
    return true;
  }
  const std::optional<std::string>& twice() const { return twice_; }

 private:
  void Count(const std::string& key) {
    if (!keys_.insert(key).second && !twice_) twice_ = key;
  }

  const std::string_view member_;
  bool inside_ = false;
  std::set<std::string> keys_;
  std::optional<std::string> twice_;
};

}  // namespace

bool IsThere(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

absl::StatusOr<json> ReadJsonFile(const fs::path& path, std::string_view unique_keys) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return BadFile(path, absl::StrCat("cannot read: ", error.message()));
  if (size > kMaxJsonBytes) return BadFile(path, absl::StrCat(size, " bytes, at most ", kMaxJsonBytes));
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  KeysSeen keys(unique_keys);
  try {
    json value = json::parse(text, std::ref(keys));
    if (!value.is_object()) return BadFile(path, "not a JSON object");
    if (keys.twice()) return BadFile(path, absl::StrCat(Excerpt(*keys.twice()), " stands twice"));
    return value;
  } catch (const json::exception& e) {
    return BadFile(path, absl::StrCat("not valid JSON: ", Excerpt(e.what())));
  }
}

}  // namespace vitower
