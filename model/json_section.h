// private header
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"

namespace vitower {

// One JSON object with the words to name it in an error. Getters leave `out` alone and remember the first error, which
// names key, value and what was expected, and is short whatever the value is. `object` is borrowed.
class JsonSection final {
 public:
  // `prefix` stands before the key in errors: "config.json: vision_config."
  JsonSection(std::string prefix, const nlohmann::json& object);

  const absl::Status& status() const { return status_; }
  const nlohmann::json* Find(const char* key) const;  // nullptr also for null
  bool IsNull(const char* key) const;                 // written, as null
  JsonSection Inner(const char* key) const;           // REQUIRES: an object is there
  void Adopt(const JsonSection& other);               // its error, unless there is one here

  void Fail(const char* key, const std::string& what);
  void FailValue(const char* key, const std::string& expected);  // REQUIRES: Find(key)

  // Whether the key is there.
  bool Number(const char* key, double& out);
  bool Integer(const char* key, int64_t& out);  // may be written 2 or 2.0
  void RequireInteger(const char* key, int64_t& out);
  void RequireEqual(const char* key, int64_t expected, const char* what);
  void RequireTriple(const char* key, double least, double most, float (&out)[3]);
  // For settings that this program does one way only: absent is fine, anything else than `expected` is not.
  void ExpectIfPresent(const char* key, const nlohmann::json& expected);

 private:
  const std::string prefix_;
  const nlohmann::json& object_;
  absl::Status status_;
};

}  // namespace vitower
