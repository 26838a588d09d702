package embedded

// KeepsOrder is keepsOrder.
var KeepsOrder = keepsOrder
