#include "cli/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace vitower {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

absl::Status Check(const std::string& variable) {
  return CheckVariables({variable}, {"max-batch-patches", "max-batch-delay", "model"});
}

TEST(Environment, AVariableOfAnOptionIsKnown) { EXPECT_TRUE(Check("VITOWER_MAX_BATCH_PATCHES").ok()); }

TEST(Environment, ATypingErrorIsNamedWithTheNearestVariable) {
  const absl::Status status = Check("VITOWER_MAX_BATCH_PACHES");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("VITOWER_MAX_BATCH_PACHES belongs to no option; did you mean VITOWER_MAX_BATCH_PATCHES?"));
  EXPECT_THAT(std::string(Check("VITOWER_MODLE").message()), HasSubstr("did you mean VITOWER_MODEL?"));
}

TEST(Environment, WhatScriptsReadIsPassedOver) {
  for (const char* name : {"VITOWER_BIN_DIR", "VITOWER_TEST_SEED", "VITOWER_TORCH_INDEX"}) {
    EXPECT_TRUE(Check(name).ok()) << name;
  }
}

TEST(Environment, WhatKubernetesSetsForServicesOfThatNameIsPassedOver) {
  for (const char* name : {"VITOWER_SERVICE_HOST", "VITOWER_SERVICE_PORT", "VITOWER_SERVICE_PORT_GRPC", "VITOWER_PORT",
                           "VITOWER_PORT_50051_TCP", "VITOWER_PORT_50051_TCP_ADDR", "VITOWER_HEADLESS_SERVICE_HOST",
                           "VITOWER_HEADLESS_PORT_9464_TCP_PROTO"}) {
    EXPECT_TRUE(Check(name).ok()) << name;
  }
  EXPECT_FALSE(Check("VITOWER_PORT_NUMBER").ok());
}

TEST(Environment, EmptyVariablesAndThoseOfOthersAreNotListed) {
  setenv("VITOWER_FULL", "x", 1);
  setenv("VITOWER_EMPTY", "", 1);
  setenv("OTHER_VITOWER_X", "x", 1);
  const std::vector<std::string> variables = VitowerVariables();
  EXPECT_THAT(variables, Contains("VITOWER_FULL"));
  EXPECT_THAT(variables, Not(Contains("VITOWER_EMPTY")));
  EXPECT_THAT(variables, Not(Contains("OTHER_VITOWER_X")));
}

}  // namespace
}  // namespace vitower
