#include "server/log.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace vitower {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

std::string LinesOf(LogFormat format, std::string_view message, std::string_view request_id) {
  testing::internal::CaptureStderr();
  InitLogging(format, LogLevel::kInfo);
  Log(LogLevel::kWarning, message, request_id);
  return testing::internal::GetCapturedStderr();
}

TEST(Log, JsonIsOneObjectALineWhateverTheMessageHolds) {
  const std::string message = "a \"quoted\"\nline \\ \x01 and \xFF";
  const std::string line = LinesOf(LogFormat::kJson, message, "id-1");
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const nlohmann::json parsed = nlohmann::json::parse(line);
  EXPECT_EQ(parsed["level"], "warning");
  EXPECT_EQ(parsed["request_id"], "id-1");
  EXPECT_EQ(parsed["message"], "a \"quoted\"\nline \\ \x01 and \xEF\xBF\xBD");
  EXPECT_THAT(parsed["time"].get<std::string>(), MatchesRegex("[0-9-]{10}T[0-9:]{8}.[0-9]{3}Z"));
}

TEST(Log, JsonHasNoRequestIdWhereThereIsNone) {
  EXPECT_FALSE(nlohmann::json::parse(LinesOf(LogFormat::kJson, "started", "")).contains("request_id"));
}

TEST(Log, TextIsOneLineWhateverTheMessageHolds) {
  const std::string line = LinesOf(LogFormat::kText, "two\nlines", "id-2");
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_THAT(line, HasSubstr("warning two lines request_id=id-2"));
}

TEST(Log, BelowTheLevelNothingIsWritten) {
  testing::internal::CaptureStderr();
  InitLogging(LogFormat::kText, LogLevel::kWarning);
  Log(LogLevel::kInfo, "quiet");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_FALSE(ShouldLog(LogLevel::kInfo));
  EXPECT_TRUE(ShouldLog(LogLevel::kError));
}

TEST(Log, LinesOfGrpcAreJsonToo) {
  testing::internal::CaptureStderr();
  InitLogging(LogFormat::kJson, LogLevel::kInfo);
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  gpr_log(GPR_ERROR, "something \"%s\"", "broke");
  const nlohmann::json parsed = nlohmann::json::parse(testing::internal::GetCapturedStderr());
  EXPECT_EQ(parsed["level"], "error");
  EXPECT_EQ(parsed["message"], "gRPC: something \"broke\"");
}

}  // namespace
}  // namespace vitower
