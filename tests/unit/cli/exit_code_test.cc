#include "cli/exit_code.h"

#include <gtest/gtest.h>

namespace vitower {
namespace {

TEST(ExitCode, NumbersAreTheDocumentedOnes) {
  EXPECT_EQ(static_cast<int>(ExitCode::kOk), 0);
  EXPECT_EQ(static_cast<int>(ExitCode::kFailure), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::kUsage), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::kRefused), 3);
}

TEST(ExitCode, AFailureOutweighsARefusalInAnyOrder) {
  EXPECT_EQ(Worse(ExitCode::kRefused, ExitCode::kFailure), ExitCode::kFailure);
  EXPECT_EQ(Worse(ExitCode::kFailure, ExitCode::kRefused), ExitCode::kFailure);
  EXPECT_EQ(Worse(ExitCode::kOk, ExitCode::kRefused), ExitCode::kRefused);
  EXPECT_EQ(Worse(ExitCode::kOk, ExitCode::kOk), ExitCode::kOk);
}

TEST(ExitCode, TellsBadInputFromOtherFailures) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), ExitCode::kRefused);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), ExitCode::kRefused);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), ExitCode::kFailure);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("")), ExitCode::kFailure);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), ExitCode::kFailure);
}

}  // namespace
}  // namespace vitower
